/**
 * Why is this task where it is? Whole sentences for people, from the state alone: what it waits
 * for, down to the cause that something can be done about, and what that is.
 */
import { formatBytes } from '../../base/bytes.ts';
import { formatDuration } from '../../base/duration.ts';
import { smallList } from '../../base/small-set.ts';
import { isAble, validWorkers } from './placement.ts';
import type { SchedulerState } from './state.ts';
import { runsBefore } from './tasks.ts';
import type { Demands, Task } from './tasks.ts';
import { remedy } from './warnings.ts';
import type { WorkerRecord } from './workers.ts';

/** Unfinished tasks that are looked at for what a task waits for in the end. */
const LOOKED_AT = 100_000;
/** Names in one list. */
const LISTED = 5;
/** ms of silence of a worker from which on it is worth a word. */
const SILENT_MS = 5000;

/** What `client.explain(key)` answers. */
export function explain(state: SchedulerState, key: string): string {
  const task = state.byKey.get(key);
  if (task !== undefined) {
    return [`${key}: ${sentence(state, task)}`, ...details(task)].join('\n');
  }
  const past = state.story.of(key);
  return past.length === 0
    ? `${key} is not known here: it was never submitted, or it was released long ago.`
    : `${key} has been forgotten: no future points at it any more. Its last steps:\n${past.join('\n')}`;
}

function sentence(state: SchedulerState, task: Task): string {
  switch (task.state) {
    case 'memory':
      return `done, ${formatBytes(Math.max(0, task.nbytes))} on ${list(smallList(task.whoHas).map(nameOf))}.`;
    case 'erred':
      return erred(task);
    case 'processing':
      return processing(state, task);
    case 'queued':
      return queued(state, task);
    case 'no-worker':
      return noWorker(state, task);
    case 'waiting':
      return waiting(state, task);
    case 'released':
      if (state.recovery.awaited.has(task)) {
        return 'awaited: the link to the worker that held it broke. If it does not come back, the value is lost.';
      }
      return 'not being computed: nobody asks for it now; it is kept because other tasks could need it again.';
    case 'forgotten':
      return 'forgotten.';
  }
}

function nameOf(worker: WorkerRecord): string {
  return worker.facts.name;
}

function list(names: readonly string[]): string {
  const more = names.length > LISTED ? ` and ${names.length - LISTED} more` : '';
  return `${names.slice(0, LISTED).join(', ')}${more}`;
}

/** `1 task`, `2 tasks`. */
function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function erred(task: Task): string {
  const { error } = task;
  if (error === null) return 'failed.';
  const cause =
    error.blame === task.key ? '' : ` It was not run itself: its input ${error.blame} failed.`;
  return `failed: ${error.message}${cause}`;
}

function processing(state: SchedulerState, task: Task): string {
  const worker = task.processingOn;
  if (worker === null) return 'processing.';
  const name = nameOf(worker);
  const condition = conditionOf(state, worker);
  if (task.longRunning) {
    return `running on ${name}, beside its threads (it has seceded).${condition}`;
  }
  if (worker.executing.includes(task.id)) return `running on ${name}.${condition}`;
  let ahead = 0;
  for (const other of worker.processing) {
    if (other !== task && !other.longRunning && runsBefore(other, task)) ahead++;
  }
  const threads = count(worker.facts.nthreads, 'thread');
  const place =
    ahead < worker.facts.nthreads
      ? `it is among the first there, and starts as soon as its inputs have come and a thread is free`
      : `${count(ahead, 'task')} of it come first`;
  const thief = state.stealing.byTask.get(task)?.thief;
  const moving = thief === undefined ? '' : ` It is asked back, for ${nameOf(thief)} to run.`;
  return `given to ${name} (${threads}): ${place}.${moving}${condition}`;
}

/** What is not as it should be with the worker of a task, or ''. */
function conditionOf(state: SchedulerState, worker: WorkerRecord): string {
  const silentMs = state.now - worker.lastSeen;
  if (worker.status === 'paused') return ` But ${pauseOf(worker)}.`;
  if (worker.status === 'closing')
    return ` But ${nameOf(worker)} is closing: it will be given to another.`;
  if (silentMs < SILENT_MS) return '';
  return ` But nothing was heard of ${nameOf(worker)} for ${formatDuration(silentMs)}.`;
}

/** `worker-1 is paused: it uses 1.7 GiB of 2 GiB (85 %)`. */
function pauseOf(worker: WorkerRecord): string {
  if (worker.statusReason !== '') return `${nameOf(worker)} is paused: ${worker.statusReason}`;
  const { memoryLimit } = worker.facts;
  const used = worker.metrics?.rss ?? 0;
  if (memoryLimit === 0 || used === 0) return `${nameOf(worker)} is paused`;
  const part = Math.round((100 * used) / memoryLimit);
  return `${nameOf(worker)} is paused: it uses ${formatBytes(used)} of ${formatBytes(memoryLimit)} of memory (${part} %)`;
}

function queued(state: SchedulerState, task: Task): string {
  let ahead = 0;
  for (const other of state.tasks.values()) {
    if (other.state !== 'queued' || other === task) continue;
    if (other.demands.owner === task.demands.owner && runsBefore(other, task)) ahead++;
  }
  const place = ahead === 0 ? 'it is the next' : `${count(ahead, 'task')} of its client come first`;
  const paused = notRunning(state);
  return (
    `waits in the queue for room on a worker: ${place}, ${state.queued.count} wait in all, and ` +
    `${count(state.runningWorkers.size, 'running worker')} (${count(state.totalThreads, 'thread')}) ` +
    `have as many tasks as they need to stay busy.${paused === '' ? '' : ` ${paused}`}`
  );
}

/** Workers that are there and take nothing, with the reason; or ''. */
function notRunning(state: SchedulerState): string {
  const others = [...state.workers.values()].filter(worker => !state.runningWorkers.has(worker));
  if (others.length === 0) return '';
  const said = others.map(worker =>
    worker.status === 'paused' ? pauseOf(worker) : `${nameOf(worker)} is ${worker.status}`
  );
  return `${said.slice(0, LISTED).join('; ')}${said.length > LISTED ? `; and ${said.length - LISTED} more are not running` : ''}.`;
}

function noWorker(state: SchedulerState, task: Task): string {
  if (state.workers.size === 0)
    return 'waits: this cluster has no workers. Start some (cluster.scale(n)).';
  if (validWorkers(state, task).length > 0) return 'waits for its turn.';
  const { workers, resources, language } = task.demands;
  const asks = [
    workers === null ? null : `one of the workers ${list(workers)}`,
    resources === null ? null : `resources ${JSON.stringify(resources)}`,
    language === null ? null : 'Python executors'
  ].filter(text => text !== null);
  if (asks.length === 0) {
    return `waits: no worker is running. ${notRunning(state)} It starts when one of them goes on, or another is started.`;
  }
  const all = [...state.workers.values()];
  const able = all.filter(worker => isAble(worker, task.demands) && isNamed(worker, workers));
  if (able.length > 0) {
    const why = able.map(worker =>
      worker.status === 'paused' ? pauseOf(worker) : `${nameOf(worker)} is ${worker.status}`
    );
    return `waits: it asks for ${asks.join(' with ')}, and those that are that take no tasks now: ${why.slice(0, LISTED).join('; ')}.`;
  }
  return (
    `cannot run now: it asks for ${asks.join(' with ')}, and none of the ${state.workers.size} workers is that.` +
    `${nearest(all, workers, task.demands)} Start such a worker, or submit it without the restriction.`
  );
}

function isNamed(worker: WorkerRecord, names: readonly string[] | null): boolean {
  const { name, address, host } = worker.facts;
  return names === null || [name, address, host].some(one => names.includes(one));
}

/** Which part of its wish nobody meets, and what comes nearest to it. */
function nearest(
  all: readonly WorkerRecord[],
  names: readonly string[] | null,
  { resources, language }: Demands
): string {
  if (names !== null && !all.some(worker => isNamed(worker, names))) {
    return ` No worker has such a name, address or host; there are ${list(all.map(nameOf))}.`;
  }
  if (language !== null && !all.some(({ facts }) => facts.languages?.[language] !== undefined)) {
    return ` No worker has any.${remedy({ language })}`;
  }
  for (const [name, amount] of Object.entries(resources ?? {})) {
    const most = Math.max(0, ...all.map(worker => worker.facts.resources[name] ?? 0));
    if (most === 0) return ` No worker offers ${name} at all.`;
    if (most < amount) return ` No worker offers ${amount} of ${name}; the most is ${most}.`;
  }
  return ' No single worker meets all of that at once.';
}

function waiting(state: SchedulerState, task: Task): string {
  const missing = task.deps.filter(dep => dep.state !== 'memory');
  const listed = list(missing.map(dep => `${dep.key} (${dep.state})`));
  const direct = `waits for ${missing.length} of its ${count(task.deps.length, 'input')}: ${listed}.`;
  const { causes, path } = rootsOf(task);
  const cause = causes[0];
  if (cause === undefined) return direct;
  const way = path.length > 2 ? ` The way there: ${path.map(one => one.key).join(' <- ')}.` : '';
  const many = causes.length > 1 ? `${causes.length} tasks; the first of them is ` : '';
  return `${direct} In the end that is for ${many}${cause.key} (${cause.state}): ${sentence(state, cause)}${way}`;
}

/**
 * The unfinished tasks that wait for no other, which a task waits for through any number of others:
 * those that are stuck first, then those that would run first; and the way to the first of them.
 */
function rootsOf(task: Task): { causes: Task[]; path: Task[] } {
  const from = new Map<Task, Task | null>([[task, null]]);
  const causes: Task[] = [];
  for (const one of from.keys()) {
    if (one.state === 'waiting' && from.size < LOOKED_AT) {
      for (const dep of one.deps) if (dep.state !== 'memory' && !from.has(dep)) from.set(dep, one);
    } else if (one.state !== 'waiting') causes.push(one);
  }
  const stuck = (one: Task): number => (one.state === 'no-worker' ? 0 : 1);
  causes.sort((a, b) => stuck(a) - stuck(b) || (runsBefore(a, b) ? -1 : 1));
  const path: Task[] = [];
  for (let at: Task | null = causes[0] ?? null; at !== null; at = from.get(at) ?? null) {
    path.unshift(at);
  }
  return { causes, path };
}

function details(task: Task): string[] {
  const lines: string[] = [];
  const { workers, resources, allowOtherWorkers, timeout } = task.demands;
  if (workers !== null && allowOtherWorkers) lines.push(`It would rather run on ${list(workers)}.`);
  else if (workers !== null && task.state !== 'no-worker') {
    lines.push(`It may run only on ${list(workers)}.`);
  }
  if (resources !== null && task.state !== 'no-worker') {
    lines.push(`It holds resources ${JSON.stringify(resources)} while it runs.`);
  }
  if (timeout > 0) lines.push(`It may run for ${formatDuration(1000 * timeout)}.`);
  if (task.suspicious > 0) {
    lines.push(`${count(task.suspicious, 'worker')} died while executing it.`);
  }
  const { processingOn } = task;
  if (processingOn !== null && processingOn.trouble !== '') {
    lines.push(`Of ${nameOf(processingOn)}: ${processingOn.trouble}.`);
  }
  if (task.retries > 0)
    lines.push(`If it throws, it is tried ${count(task.retries, 'time')} more.`);
  return lines;
}
