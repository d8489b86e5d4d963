/** Why a task has no result, in words for the user: what happened, to which key, what to do next. */
import type { ErrorRecord } from '../../protocol/messages.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import { remedy, wishes } from './warnings.ts';
import type { WorkerRecord } from './workers.ts';

function record(task: Task, code: string, message: string): ErrorRecord {
  return { code, message, traceback: '', exception: null, blame: task.key, worker: '' };
}

export function killedRecord(task: Task, worker: WorkerRecord, reason: string): ErrorRecord {
  const name = `${worker.facts.name} (${worker.facts.address})`;
  return {
    ...record(
      task,
      'KILLED_WORKER',
      `KilledWorkerError: task ${task.key} was executing on ${task.suspicious} workers that died, so it is not ` +
        `tried again. The last was ${name}: ${reason}. Look at that worker's log, give the workers more memory, or ` +
        `raise scheduler.allowed-failures.`
    ),
    worker: worker.facts.address
  };
}

export function cancelledInputRecord(task: Task): ErrorRecord {
  return record(
    task,
    'CANCELLED',
    `CancelledError: ${task.key} depends on a future that was cancelled or released before it was submitted.`
  );
}

export function noWorkerRecord(state: SchedulerState, task: Task, limit: number): ErrorRecord {
  const why =
    state.runningWorkers.size === 0
      ? 'no worker is running'
      : `no running worker is what it asks for: ${wishes(task.demands)}`;
  return record(
    task,
    'NO_VALID_WORKER',
    `NoValidWorkerError: task ${task.key} found no worker within ${limit / 1000} s: ${why}. Start workers, or change ` +
      `what client.with({ workers, resources }) asks for.${remedy(task.demands)}`
  );
}

export function lostRecord(task: Task): ErrorRecord {
  return {
    code: 'LOST_DATA',
    message:
      `LostDataError: ${task.key} was scattered and the last worker that held it is gone, so it cannot be ` +
      `made again. Scatter it again, with { broadcast: true } to keep a copy on every worker.`,
    traceback: '',
    exception: null,
    blame: task.key,
    worker: ''
  };
}

/** Known by name only, and nobody has brought it back. */
export function lostAtRestartRecord(task: Task): ErrorRecord {
  return record(
    task,
    'LOST_DATA',
    `LostDataError: ${task.key} was lost with a process of the cluster: the scheduler was started again, no worker ` +
      `that came back holds it, and no client knows how to make it. Scatter or submit it again; with ` +
      `{ broadcast: true } a copy lies on every worker.`
  );
}
