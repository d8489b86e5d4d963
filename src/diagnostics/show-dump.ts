/** What people read of a dump: a summary, or all that is known of one key or worker. */
import { formatBytes } from '../base/bytes.ts';
import { formatDuration } from '../base/duration.ts';
import type { ClusterDump } from '../protocol/dump.ts';
import { versionTable } from '../protocol/versions.ts';

/** Names and lines in one list. */
const LISTED = 10;

/** The cluster in some thirty lines. */
export function showSummary(dump: ClusterDump): string {
  const { cluster, scheduler, logs } = dump;
  const age = formatDuration(dump.takenAt - cluster.startedAt);
  const lines = [
    `Cluster ${cluster.name} (${cluster.kind}, ${cluster.address})`,
    `taken at ${time(dump.takenAt)}, ${age} after its start`,
    '',
    `Tasks: ${scheduler.tasks.keys.length} known, ${scheduler.transitions} transitions so far`,
    ...scheduler.prefixes.map(({ name, counts, duration }) => {
      const mean = duration < 0 ? 'never ran' : `${duration.toFixed(1)} ms each`;
      return `  ${name}: ${statesOf(dump, counts)} (${mean})`;
    }),
    '',
    `Workers: ${scheduler.workers.length}`,
    ...scheduler.workers.map(worker => `  ${workerLine(dump, worker.name)}`),
    '',
    `Clients: ${scheduler.clients.map(({ name, keys }) => `${name} (${keys} keys)`).join(', ') || 'none'}`,
    `Settings: ${JSON.stringify(dump.settings)}`,
    '',
    versionTable(dump.versions),
    '',
    ...unfinished(dump),
    ...failures(dump),
    `Logs: ${logs.map(({ source, lines: all }) => `${source} (${all.length} lines)`).join(', ')}`
  ];
  return lines.join('\n');
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}

function statesOf(dump: ClusterDump, counts: readonly number[]): string {
  const parts = counts.flatMap((number, i) =>
    number === 0 ? [] : [`${number} ${dump.scheduler.stateNames[i] ?? '?'}`]
  );
  return parts.join(', ') || 'none left';
}

function workerLine(dump: ClusterDump, name: string): string {
  const worker = dump.scheduler.workers.find(one => one.name === name);
  if (worker === undefined) return `${name}: not known to the scheduler`;
  const limit = worker.memoryLimit === 0 ? 'no limit' : formatBytes(worker.memoryLimit);
  const silent = formatDuration(Math.max(0, dump.scheduler.now - worker.lastSeen));
  return (
    `${name} (${worker.address}, process ${worker.pid}): ${worker.status}, ${worker.nthreads} threads, ${limit}; ` +
    `${worker.processing.length} tasks given, ${worker.executing.length} executing, ${worker.inMemory} values of ` +
    `${formatBytes(worker.nbytes)}; heard of ${silent} before`
  );
}

function unfinished(dump: ClusterDump): string[] {
  const all = Object.values(dump.scheduler.explanations);
  if (all.length === 0) return [];
  return [
    'Unfinished:',
    ...all.slice(0, LISTED).map(text => `  ${text.replaceAll('\n', '\n    ')}`),
    ''
  ];
}

function failures(dump: ClusterDump): string[] {
  const all = Object.entries(dump.scheduler.errors).filter(([key, error]) => error.blame === key);
  if (all.length === 0) return [];
  const lines = all.slice(0, LISTED).map(([key, { message }]) => `  ${key}: ${message}`);
  return [`Failed: ${all.length}`, ...lines, ''];
}

/** All that is known of a key, or null when nothing is. */
export function showKey(dump: ClusterDump, key: string): string | null {
  const { scheduler } = dump;
  const { tasks } = scheduler;
  const at = tasks.keys.indexOf(key);
  const story = storyLines(dump, key);
  if (at < 0 && story.length === 0) return null;
  const lines: string[] = [];
  if (at < 0) lines.push(`${key} is not known any more.`);
  else {
    const places = new Map(tasks.ids.map((id, i) => [id, i]));
    const nameOf = (id: number): string =>
      scheduler.workers.find(worker => worker.id === id)?.name ?? `worker ${id}`;
    const label = (id: number): string => {
      const i = places.get(id) ?? -1;
      return `${tasks.keys[i] ?? id} (${stateAt(dump, i)})`;
    };
    const holders = (tasks.whoHas[at] ?? []).map(nameOf);
    const on = tasks.processingOn[at] ?? 0;
    const size = tasks.nbytes[at] ?? -1;
    lines.push(
      `${key}: ${stateAt(dump, at)}`,
      `  number ${tasks.ids[at]}, run ${tasks.runIds[at]}, of ${tasks.prefixes[at]}`,
      `  wanted by ${tasks.wants[at]} futures and ${tasks.waiters[at]} tasks`,
      `  needs ${(tasks.deps[at] ?? []).map(label).join(', ') || 'nothing'}`
    );
    if (size >= 0)
      lines.push(
        `  ${formatBytes(size)} of ${tasks.types[at]}, on ${holders.join(', ') || 'no worker'}`
      );
    if (on > 0) lines.push(`  given to ${nameOf(on)}`);
    if ((tasks.suspicious[at] ?? 0) > 0)
      lines.push(`  ${tasks.suspicious[at]} workers died while executing it`);
    const why = scheduler.explanations[key];
    if (why !== undefined) lines.push(`  ${why.replaceAll('\n', '\n  ')}`);
    const error = scheduler.errors[key];
    if (error !== undefined)
      lines.push(`  ${error.message}`, ...error.traceback.split('\n').map(line => `    ${line}`));
  }
  for (const [name, worker] of Object.entries(dump.workers)) {
    if (typeof worker === 'string') continue;
    const task = worker.tasks.find(one => one.key === key);
    if (task !== undefined) lines.push(`  on ${name}: ${task.state} (run ${task.runId})`);
  }
  return [...lines, '', ...story].join('\n');
}

function stateAt(dump: ClusterDump, at: number): string {
  const { tasks, stateNames } = dump.scheduler;
  return stateNames[tasks.states[at] ?? -1] ?? 'forgotten';
}

/** The steps of a key on the scheduler and the workers, oldest first. */
export function showStory(dump: ClusterDump, key: string): string | null {
  const lines = storyLines(dump, key);
  return lines.length === 0 ? null : lines.join('\n');
}

function storyLines(dump: ClusterDump, key: string): string[] {
  const steps = dump.scheduler.story
    .filter(line => line.key === key)
    .map(line => ({
      at: line.time,
      where: 'scheduler',
      text: `${line.start} -> ${line.finish}`,
      stimulus: line.stimulus
    }));
  for (const [where, worker] of Object.entries(dump.workers)) {
    if (typeof worker === 'string') continue;
    for (const entry of worker.history) {
      if (entry.key === key)
        steps.push({ at: entry.at, where, text: entry.text, stimulus: entry.stimulus });
    }
  }
  steps.sort((a, b) => a.at - b.at);
  return steps.map(
    ({ at, where, text, stimulus }) => `${time(at)} ${where}: ${text} (${stimulus})`
  );
}

/** All that is known of a worker, or null when there is none of that name or address. */
export function showWorker(dump: ClusterDump, target: string): string | null {
  const known = dump.scheduler.workers.find(
    ({ name, address }) => name === target || address === target
  );
  const name = known?.name ?? target;
  const own = dump.workers[name];
  if (known === undefined && own === undefined) return null;
  const lines = [workerLine(dump, name)];
  if (typeof own === 'string') lines.push(`It told nothing of itself: ${own}`);
  else if (own !== undefined) {
    lines.push(
      `Of itself: ${JSON.stringify(own.info)}`,
      `Executing: ${own.executing.map(({ key, forMs }) => `${key} for ${formatDuration(forMs)}`).join(', ') || 'nothing'}`,
      `Its last steps of ${own.taskCount} tasks:`,
      ...own.history.slice(-30).map(({ at, key, text }) => `  ${time(at)} ${key} ${text}`)
    );
  }
  const log = dump.logs.find(({ source }) => source === name);
  if (log !== undefined) lines.push('Its log:', ...log.lines.slice(-30).map(line => `  ${line}`));
  return lines.join('\n');
}
