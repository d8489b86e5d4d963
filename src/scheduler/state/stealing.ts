/**
 * Work stealing: idle workers take over tasks that wait on busy ones.
 *
 * Once a second the busy workers' tasks are sorted into 15 levels by what it costs to move them
 * (bytes of inputs against duration), and the cheapest are asked back from the busiest workers as
 * long as a thief would have them done earlier. Moving takes two steps: the victim is asked, and
 * only when it answers that it has let go of the task (it had not begun) the thief is given it. So
 * one worker owns a task at any time; see steal-requests.ts for what may happen in between.
 *
 * Nothing of this is kept while tasks come and go: who is idle and who is saturated, and the levels
 * of tasks, are computed when they are looked for, for no more than a bounded number of tasks.
 */
import { Heap } from '../../base/heap.ts';
import { smallList } from '../../base/small-set.ts';
import type { StealResponse } from '../../protocol/messages.ts';
import {
  fetchTime,
  inputBytes,
  isAble,
  isNamed,
  isRestricted,
  startProcessing,
  stopProcessing
} from './placement.ts';
import type { SchedulerState } from './state.ts';
import { dropRequest, requestSteal } from './steal-requests.ts';
import { runsBefore } from './tasks.ts';
import type { Demands, Task } from './tasks.ts';
import { recommend } from './transitions.ts';
import type { WorkerRecord } from './workers.ts';

const LEVELS = 15;
/** ms that moving a task with inputs takes at least. */
const LATENCY_MS = 100;
/** Less work than this, or less of it waiting, is not worth looking at. */
const VICTIM_MS = 200;
const SATURATED_MS = 400;
/** A worker is saturated when so many times the mean of all waits for its threads. */
const SATURATED_SHARE = 1.9;
/** The busiest workers that are looked at although they are not saturated. */
const BUSIEST = 10;
/** Tasks looked at, and asked for, in one round: some ms of work. More wait for the next tick. */
const LOOK_AT = 20_000;
const MOVE_AT_ONCE = 4000;
/** Tasks of one level that are passed over before the level is left. */
const PATIENCE = 50;
/** So many tasks of one level are put in order, so that those that run last are moved first. */
const SORTED = 5000;

/** A worker during one round, with what the round has moved already. */
class Side {
  readonly worker: WorkerRecord;
  readonly nthreads: number;
  ms: number;
  tasks: number;
  idle = false;
  /** Counts changes: a heap's entry of another version is out of date. */
  version = 0;
  /** Of a victim: its tasks that can be moved, by level. */
  levels: (Task[] | undefined)[] = [];

  constructor(worker: WorkerRecord) {
    this.worker = worker;
    this.nthreads = worker.facts.nthreads;
    this.ms = worker.occupancy + worker.stealMs;
    this.tasks = worker.processing.size - worker.longRunning + worker.stealTasks;
  }

  /** ms until a thread is free for one task more. */
  get start(): number {
    return this.tasks < this.nthreads ? 0 : this.ms / this.nthreads;
  }

  /** It is paused: what waits there does not begin. */
  get stuck(): boolean {
    return this.worker.status === 'paused';
  }

  change(ms: number, tasks: number, mean: number): void {
    this.ms += ms;
    this.tasks += tasks;
    this.version++;
    if (this.idle) this.idle = isUnoccupied(this, mean);
  }
}

/** A thread is free, or there is less than half of the mean to do. */
function isUnoccupied(side: Side, mean: number): boolean {
  return side.tasks < side.nthreads || side.ms < (side.nthreads * mean) / 2;
}

/** Much more waits for its threads than for those of others. */
function isSaturated(side: Side, mean: number): boolean {
  const waiting = side.tasks - side.nthreads;
  if (waiting <= 0) return false;
  const pending = (side.ms * waiting) / (side.tasks * side.nthreads);
  return pending > SATURATED_MS && pending > SATURATED_SHARE * mean;
}

/** Looks once for tasks that are better moved, and asks for them. */
export function balance(state: SchedulerState): void {
  state.stealing.balancedAt = state.now;
  if (state.workers.size < 2) return;
  const sides = new Map<WorkerRecord, Side>();
  let ms = 0;
  let threads = 0;
  for (const worker of state.workers.values()) {
    const side = new Side(worker);
    sides.set(worker, side);
    ms += side.ms;
    threads += side.nthreads;
  }
  const mean = ms / threads;
  let thieves = 0;
  for (const side of sides.values()) {
    side.idle = side.worker.status === 'running' && isUnoccupied(side, mean);
    if (side.idle) thieves++;
  }
  if (thieves === 0) return;
  const victims = victimsOf(sides, mean);
  if (victims.length > 0) new Round(state, sides, victims, mean).run();
}

/**
 * Saturated workers, the busiest others, and paused ones; most work first. Workers that leave give
 * back by themselves what has not begun.
 */
function victimsOf(sides: ReadonlyMap<WorkerRecord, Side>, mean: number): Side[] {
  const victims: Side[] = [];
  const busy: Side[] = [];
  for (const side of sides.values()) {
    const { status } = side.worker;
    if (status === 'paused' && side.tasks > 0) victims.push(side);
    if (status !== 'running') continue;
    if (isSaturated(side, mean)) victims.push(side);
    else if (!side.idle && side.ms > VICTIM_MS && side.tasks > side.nthreads) busy.push(side);
  }
  const byWork = (a: Side, b: Side): number => b.ms - a.ms || a.worker.id - b.worker.id;
  victims.push(...busy.sort(byWork).slice(0, BUSIEST));
  return victims.sort(byWork);
}

class Round {
  private readonly state: SchedulerState;
  private readonly sides: ReadonlyMap<WorkerRecord, Side>;
  private readonly victims: readonly Side[];
  private readonly mean: number;
  private readonly pools = new Map<Demands | null, ThiefPool>();
  private left = LOOK_AT;
  private moves = MOVE_AT_ONCE;

  constructor(
    state: SchedulerState,
    sides: ReadonlyMap<WorkerRecord, Side>,
    victims: readonly Side[],
    mean: number
  ) {
    this.state = state;
    this.sides = sides;
    this.victims = victims;
    this.mean = mean;
  }

  run(): void {
    for (const victim of this.victims) this.sort(victim);
    for (let level = 0; level < LEVELS; level++) {
      for (const victim of this.victims) {
        const tasks = victim.levels[level];
        if (tasks !== undefined && !this.take(victim, tasks)) return;
        if (this.moves > 0) continue;
        this.state.stealing.balancedAt = -Infinity;
        return;
      }
    }
  }

  /** Its movable tasks by level, those that would run last at the end. */
  private sort(victim: Side): void {
    const executing = new Set(victim.worker.executing);
    const { byTask } = this.state.stealing;
    const { goingOn } = this.state.recovery;
    for (const task of victim.worker.processing) {
      if (this.left-- <= 0) break;
      if (task.longRunning || byTask.has(task) || executing.has(task.id)) continue;
      // Begun under the scheduler before: it takes that execution over.
      if (goingOn.has(task)) continue;
      const level = stealLevel(this.state, task);
      if (level === null) continue;
      const tasks = victim.levels[level];
      if (tasks === undefined) victim.levels[level] = [task];
      else tasks.push(task);
    }
    for (const tasks of victim.levels) {
      if (tasks === undefined || tasks.length > SORTED) continue;
      tasks.sort((a, b) => (runsBefore(a, b) ? -1 : 1));
    }
  }

  /** Moves what is worth it; false when nobody is idle any more. */
  private take(victim: Side, tasks: Task[]): boolean {
    let passed = 0;
    while (
      this.moves > 0 &&
      passed < PATIENCE &&
      (victim.stuck || victim.tasks > victim.nthreads)
    ) {
      const task = tasks.pop();
      if (task === undefined) break;
      const thief = this.thiefFor(task);
      if (thief === null) {
        if (this.poolOf(null).isEmpty) return false;
        passed++;
      } else if (!this.move(task, victim, thief)) passed++;
    }
    return true;
  }

  /** Asks for the task if the thief would have it done earlier. */
  private move(task: Task, victim: Side, thief: Side): boolean {
    const { state, mean } = this;
    const { expected } = task.group.prefix;
    const thiefMs = expected + fetchTime(state, task, thief.worker);
    const victimMs = expected + fetchTime(state, task, victim.worker);
    // All that waits at the victim ends at about (ms - its) / threads + its.
    const end = Math.max(0, victim.ms - victimMs) / victim.nthreads + victimMs;
    if (!victim.stuck && thief.start + thiefMs > end - victimMs / 2) return false;
    requestSteal(state, {
      task,
      runId: task.runId,
      victim: victim.worker,
      thief: thief.worker,
      victimMs,
      thiefMs
    });
    this.moves--;
    victim.change(-victimMs, -1, mean);
    thief.change(thiefMs, 1, mean);
    return true;
  }

  /** The idle worker that would begin it first: one that holds an input, or the least busy one. */
  private thiefFor(task: Task): Side | null {
    const { state } = this;
    const pool = this.poolOf(task.demands);
    const bytes = inputBytes(task);
    let chosen = bytes > state.leastMemoryLimit ? pool.firstWith(bytes) : pool.first();
    if (chosen === null || task.deps.length === 0) return chosen;
    let score = chosen.start + fetchTime(state, task, chosen.worker);
    for (const dep of task.deps) {
      for (const worker of smallList(dep.whoHas)) {
        const side = this.sides.get(worker);
        if (side?.idle !== true || !pool.has(side) || !holds(side, bytes)) continue;
        const its = side.start + fetchTime(state, task, worker);
        if (its < score) {
          chosen = side;
          score = its;
        }
      }
    }
    return chosen;
  }

  /** Idle workers that tasks of these demands may run on. */
  private poolOf(demands: Demands | null): ThiefPool {
    const restricted = demands !== null && isRestricted(this.state, demands);
    const key = restricted ? demands : null;
    let pool = this.pools.get(key);
    if (pool === undefined) {
      const idle = [...this.sides.values()].filter(side => side.idle);
      pool = new ThiefPool(key === null ? idle : allowed(idle, key));
      this.pools.set(key, pool);
    }
    return pool;
  }
}

/** Those that the demands allow; with `allowOtherWorkers` all able ones when no named one is there. */
function allowed(idle: readonly Side[], demands: Demands): Side[] {
  const able = idle.filter(side => isAble(side.worker, demands));
  const { workers, allowOtherWorkers } = demands;
  if (workers === null) return able;
  const named = able.filter(side => isNamed(side.worker, workers));
  return named.length === 0 && allowOtherWorkers ? able : named;
}

/** Its memory may take so many bytes. */
function holds({ worker }: Side, bytes: number): boolean {
  const { memoryLimit } = worker.facts;
  return memoryLimit === 0 || memoryLimit >= bytes;
}

interface Entry {
  side: Side;
  start: number;
  ms: number;
  version: number;
}

/** Thieves by when they could begin a task. They only get busier: entries are renewed when met. */
class ThiefPool {
  private readonly heap = new Heap<Entry>(
    (a, b) => a.start < b.start || (a.start === b.start && a.ms < b.ms)
  );
  private readonly members: ReadonlySet<Side>;

  constructor(sides: readonly Side[]) {
    this.members = new Set(sides);
    for (const side of sides) this.add(side);
  }

  get isEmpty(): boolean {
    return this.first() === null;
  }

  has(side: Side): boolean {
    return this.members.has(side);
  }

  first(): Side | null {
    for (;;) {
      const entry = this.heap.peek();
      if (entry === undefined) return null;
      if (entry.side.idle && entry.version === entry.side.version) return entry.side;
      this.heap.pop();
      if (entry.side.idle) this.add(entry.side);
    }
  }

  /** The first that has memory for so many bytes. */
  firstWith(bytes: number): Side | null {
    let chosen: Side | null = null;
    for (const side of this.members) {
      if (!side.idle || !holds(side, bytes)) continue;
      if (chosen === null || side.start < chosen.start) chosen = side;
    }
    return chosen;
  }

  private add(side: Side): void {
    const { start, ms, version } = side;
    this.heap.push({ side, start, ms, version });
  }
}

/** How dear it is to move the task: 0 without inputs, up to 14; null: never. */
export function stealLevel(state: SchedulerState, task: Task): number | null {
  const { prefix } = task.group;
  if (prefix.fast) return null;
  if (task.deps.length === 0) return 0;
  const transfer = inputBytes(task) / state.network.bandwidth + LATENCY_MS;
  const level = Math.round(Math.log2(transfer / prefix.expected) + 6);
  if (level >= LEVELS) return null;
  return Math.max(1, level);
}

/** What the victim was doing with a task when it was asked to give it back. */
export function stealResponse(
  state: SchedulerState,
  victim: WorkerRecord,
  { tids, runIds, states }: StealResponse
): void {
  tids.forEach((tid, i) => {
    const task = state.tasks.get(tid);
    // Overtaken: it has finished or was taken away, and may even be here again under another run.
    if (task?.processingOn !== victim || task.runId !== runIds[i]) return;
    const request = dropRequest(state, task);
    if (request === null) return;
    switch (states[i]) {
      case 'executing':
        // As its next heartbeat will say: others are asked for, soon.
        if (!victim.executing.includes(tid)) victim.executing = [...victim.executing, tid];
        state.stealing.balancedAt = -Infinity;
        return;
      case 'memory':
      case 'long-running':
      case 'cancelled':
      case 'resumed':
        return;
      case 'ready':
      case 'constrained':
      case 'waiting':
        if (state.runningWorkers.has(request.thief)) handOver(state, task, request.thief);
        else recommend(state, task, 'waiting');
        return;
      default:
        // The victim does not know of it: it will not run there.
        recommend(state, task, 'waiting');
    }
  });
}

/** The victim has let go of it: now it is the thief's. */
function handOver(state: SchedulerState, task: Task, thief: WorkerRecord): void {
  stopProcessing(state, task);
  startProcessing(state, task, thief);
  state.story.add(task.key, 'processing', 'processing', state.outbox.stimulus, state.now);
}
