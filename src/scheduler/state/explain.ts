/** Why is this task where it is? Plain sentences for people, from the state alone. */
import { smallList } from '../../base/small-set.ts';
import { validWorkers } from './placement.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';

/** What `client.explain(key)` answers. */
export function explain(state: SchedulerState, key: string): string {
  const task = state.byKey.get(key);
  if (task === undefined) {
    const past = state.story.of(key);
    return past.length === 0
      ? `${key} is not known here: it was never submitted, or it was released long ago.`
      : `${key} has been forgotten: no future points at it any more. Its last steps:\n${past.join('\n')}`;
  }
  return [`${key}: ${sentence(state, task)}`, ...details(task)].join('\n');
}

function sentence(state: SchedulerState, task: Task): string {
  switch (task.state) {
    case 'memory':
      return `done, ${task.nbytes} bytes on ${names(task)}.`;
    case 'erred':
      return `failed: ${task.error?.message ?? ''}${task.error?.blame === task.key ? '' : ` (in ${task.error?.blame})`}`;
    case 'processing':
      return processing(state, task);
    case 'queued':
      return (
        `waits for room on a worker: ${state.queued.count} such tasks wait, all ${state.runningWorkers.size} workers ` +
        `have as many as they need to stay busy.`
      );
    case 'no-worker':
      return noWorker(state, task);
    case 'waiting':
      return waiting(task);
    case 'released':
      return 'not being computed: nobody asks for it now; it is kept because other tasks could need it again.';
    case 'forgotten':
      return 'forgotten.';
  }
}

function names(task: Task): string {
  return smallList(task.whoHas)
    .map(worker => worker.facts.name)
    .join(', ');
}

function processing(state: SchedulerState, task: Task): string {
  const worker = task.processingOn;
  if (worker === null) return 'processing.';
  const name = worker.facts.name;
  if (worker.executing.includes(task.id)) return `running on ${name}.`;
  const ahead = worker.processing.size - 1;
  const silent = Math.round((state.now - worker.lastSeen) / 1000);
  const note = silent > 5 ? ` Nothing was heard of ${name} for ${silent} s.` : '';
  return `given to ${name}, which has ${ahead} other tasks and ${worker.facts.nthreads} threads.${note}`;
}

function noWorker(state: SchedulerState, task: Task): string {
  if (state.workers.size === 0)
    return 'waits: this cluster has no workers. Start some (cluster.scale(n)).';
  const { workers, resources } = task.demands;
  if (validWorkers(state, task).length > 0) return 'waits for its turn.';
  const asks = [
    workers === null ? null : `one of the workers ${workers.join(', ')}`,
    resources === null ? null : `resources ${JSON.stringify(resources)}`
  ].filter(text => text !== null);
  if (asks.length === 0) return 'waits: no worker is running; they are paused or closing.';
  return (
    `cannot run now: it asks for ${asks.join(' with ')}, and none of the ${state.workers.size} workers is that. ` +
    `Start such a worker, or submit it without the restriction.`
  );
}

function waiting(task: Task): string {
  const missing = task.deps.filter(dep => dep.state !== 'memory');
  const listed = missing.slice(0, 5).map(dep => `${dep.key} (${dep.state})`);
  const more = missing.length > 5 ? ` and ${missing.length - 5} more` : '';
  return `waits for ${missing.length} of its ${task.deps.length} inputs: ${listed.join(', ')}${more}.`;
}

function details(task: Task): string[] {
  const lines: string[] = [];
  if (task.suspicious > 0)
    lines.push(`Workers died ${task.suspicious} times while they executed it.`);
  if (task.retries > 0) lines.push(`${task.retries} retries are left.`);
  return lines;
}
