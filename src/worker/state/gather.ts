/**
 * What to fetch from whom: peers in the order of the most urgent task they hold, those of the same
 * host first, then those that hold most, then by lot. One request a peer at a time, as many values
 * in it as fit; a limit on requests and on bytes under way.
 */
import type { WorkerCore } from './core.ts';
import type { FairHeap } from './fair-heap.ts';
import { compareTasks } from './tasks.ts';
import type { WorkerTask } from './tasks.ts';
import { transition } from './transitions.ts';

/** The limit on the number of requests does not count below this many bytes under way. */
const FREE_BYTES = 10e6;

interface Candidate {
  worker: number;
  heap: FairHeap;
  /** The most urgent task to get from it. */
  top: WorkerTask;
  remote: boolean;
  count: number;
  lot: number;
}

/** Takes tasks from fetch to flight, as far as the limits allow. */
export function ensureCommunicating(core: WorkerCore): void {
  if (!core.running || core.draining || core.needed.size === 0) return;
  let candidates: Candidate[] | null = null;
  while (!isThrottled(core)) {
    candidates ??= findCandidates(core);
    const peer = takeBest(core, candidates);
    if (peer === null) return;
    const tasks = selectTasks(core, peer.heap);
    if (tasks.length === 0) return;
    startGather(core, peer.worker, tasks);
  }
}

function bytesLimit(core: WorkerCore): number {
  const { memoryLimit, transferShare } = core.options;
  return memoryLimit === 0 ? Number.POSITIVE_INFINITY : memoryLimit * transferShare;
}

function isThrottled(core: WorkerCore): boolean {
  if (core.incomingBytes >= bytesLimit(core)) return true;
  return core.gathering.size >= core.options.connections && core.incomingBytes >= FREE_BYTES;
}

function findCandidates(core: WorkerCore): Candidate[] {
  const candidates: Candidate[] = [];
  for (const [worker, heap] of core.needed) {
    if (core.gathering.has(worker) || core.busy.has(worker)) continue;
    const top = heap.peek();
    if (top === undefined) continue;
    const remote = core.peers.get(worker)?.host !== core.options.host;
    const lot = core.nextRandom();
    candidates.push({ worker, heap, top, remote, count: heap.size, lot });
  }
  return candidates;
}

/** Removes and returns the best; what it offers may have gone to another peer meanwhile. */
function takeBest(core: WorkerCore, candidates: Candidate[]): Candidate | null {
  let best = -1;
  for (let i = candidates.length - 1; i >= 0; i--) {
    const candidate = candidates[i] as Candidate;
    const top = candidate.heap.peek();
    if (top === undefined || core.needed.get(candidate.worker) !== candidate.heap) {
      candidates.splice(i, 1);
      if (best > i) best--;
      continue;
    }
    candidate.top = top;
    candidate.count = candidate.heap.size;
    if (best < 0 || comesBefore(candidate, candidates[best] as Candidate)) best = i;
  }
  return best < 0 ? null : (candidates.splice(best, 1)[0] ?? null);
}

function comesBefore(a: Candidate, b: Candidate): boolean {
  const order = a.top === b.top ? 0 : compareTasks(a.top, b.top);
  if (order !== 0) return order < 0;
  if (a.remote !== b.remote) return b.remote;
  if (a.count !== b.count) return a.count > b.count;
  return a.lot < b.lot;
}

function selectTasks(core: WorkerCore, heap: FairHeap): WorkerTask[] {
  const tasks: WorkerTask[] = [];
  const left = bytesLimit(core) - core.incomingBytes;
  let nbytes = 0;
  for (let task = heap.peek(); task !== undefined; task = heap.peek()) {
    const total = nbytes + task.nbytes;
    if (tasks.length === 0) {
      // The first may be of any size when nothing else is under way.
      if (core.incomingBytes > 0 && total > left) break;
    } else if (total > Math.min(core.options.messageBytes, left)) break;
    transition(core, task, 'flight');
    tasks.push(task);
    nbytes = total;
  }
  return tasks;
}

function startGather(core: WorkerCore, worker: number, tasks: WorkerTask[]): void {
  let nbytes = 0;
  const tids: number[] = [];
  for (const task of tasks) {
    task.comingFrom = worker;
    nbytes += task.nbytes;
    tids.push(task.tid);
  }
  core.gathering.set(worker, { tasks, nbytes });
  core.incomingBytes += nbytes;
  core.push({ op: 'gather', worker, tids, nbytes });
}

/** The request to this peer has ended: its tasks, marked done. */
export function endGather(core: WorkerCore, worker: number): WorkerTask[] {
  const request = core.gathering.get(worker);
  if (request === undefined) return [];
  core.gathering.delete(worker);
  core.incomingBytes -= request.nbytes;
  for (const task of request.tasks) {
    task.done = true;
    task.comingFrom = -1;
  }
  return request.tasks;
}
