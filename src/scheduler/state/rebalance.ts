/**
 * Evens out the memory of workers by moving values from full ones to empty ones, without touching
 * what nobody needs to move: senders are those above the mean (and above 30 % of their limit),
 * recipients those below it (and below 60 %), with a gap between them so that little things do not
 * go to and fro. The value that has lain longest goes first.
 */
import { Heap } from '../../base/heap.ts';
import { move, replicaCount, workersInNeed } from './replicas.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** Shares of a worker's memory limit. */
const GAP = 0.1;
const SENDER_LEAST = 0.3;
const RECIPIENT_MOST = 0.6;

interface Sender {
  worker: WorkerRecord;
  used: number;
  tasks: Iterator<Task>;
}
interface Recipient {
  worker: WorkerRecord;
  used: number;
  most: number;
}

/** Starts to move values; `only` restricts which. Returns how many are on their way. */
export function rebalance(
  state: SchedulerState,
  workers: readonly WorkerRecord[],
  only: ReadonlySet<Task> | null
): number {
  if (workers.length < 2) return 0;
  const used = new Map(workers.map(worker => [worker, worker.memory.optimistic(worker)]));
  const mean = [...used.values()].reduce((sum, bytes) => sum + bytes, 0) / workers.length;
  const senders = new Heap<Sender>((a, b) => a.used > b.used);
  const recipients = new Heap<Recipient>((a, b) => a.used < b.used);
  for (const worker of workers) {
    const limit = worker.facts.memoryLimit;
    const bytes = used.get(worker) ?? 0;
    const half = (limit * GAP) / 2;
    if (bytes >= mean + half && bytes > mean && bytes >= limit * SENDER_LEAST) {
      senders.push({ worker, used: bytes, tasks: movable(state, worker, only) });
    }
    const most = limit === 0 ? mean : Math.min(mean, limit * RECIPIENT_MOST);
    if (bytes < mean - half && bytes < most) recipients.push({ worker, used: bytes, most });
  }
  return moveAll(state, senders, recipients, mean);
}

function moveAll(
  state: SchedulerState,
  senders: Heap<Sender>,
  recipients: Heap<Recipient>,
  mean: number
): number {
  let count = 0;
  for (let from = senders.peek(); from !== undefined; from = senders.peek()) {
    const next = from.tasks.next();
    const to = recipients.peek();
    if (to === undefined) return count;
    if (next.done === true) {
      senders.pop();
      continue;
    }
    const task = next.value;
    const nbytes = Math.max(0, task.nbytes);
    // Neither side may end on the other side of the mean.
    if (nbytes === 0 || from.used - nbytes < mean - nbytes / 2) continue;
    if (to.used + nbytes > to.most + nbytes / 2) continue;
    if (!move(state, task, from.worker, to.worker)) continue;
    count++;
    senders.pop();
    recipients.pop();
    from.used -= nbytes;
    to.used += nbytes;
    if (from.used > mean) senders.push(from);
    if (to.used < to.most) recipients.push(to);
  }
  return count;
}

/** Values of which this is the only copy and that no task uses now, the oldest first. */
function* movable(
  state: SchedulerState,
  worker: WorkerRecord,
  only: ReadonlySet<Task> | null
): Generator<Task, void> {
  for (const task of [...worker.hasWhat]) {
    if (only !== null && !only.has(task)) continue;
    if (task.state !== 'memory' || task.recommended !== null || replicaCount(task) > 1) continue;
    if (state.replicas.moves.has(task) || workersInNeed(task).size > 0) continue;
    yield task;
  }
}
