/**
 * Tasks of several clients, each client's in its own order (heap.ts). The head is that of the
 * client whose turn it is: the most urgent by user priority, then the one that has been served
 * least. Shares move while tasks wait, so a single heap over all could not stay in order.
 */
import type { FairServer, Share } from '../../base/fair.ts';
import { TaskHeap } from './heap.ts';
import { compareTasks } from './tasks.ts';
import type { WorkerTask } from './tasks.ts';

/** Heaps of clients that have nothing here are dropped when there are more than this. */
const IDLE_HEAPS = 64;

export class FairHeap {
  private readonly heaps = new Map<Share, TaskHeap>();
  /** The heap that was made last: the only one, mostly. */
  private last = new TaskHeap();
  /** Told of what waits here; null: waiting here is not waiting to be served. */
  private readonly server: FairServer | null;

  constructor(server: FairServer | null = null) {
    this.server = server;
  }

  get size(): number {
    let size = 0;
    for (const heap of this.heaps.values()) size += heap.size;
    return size;
  }

  has(task: WorkerTask): boolean {
    return this.heaps.get(task.owner)?.has(task) === true;
  }

  /** Adds the task for its present owner at its present priority; a member stays where it is. */
  add(task: WorkerTask): void {
    let heap = this.heaps.get(task.owner);
    if (heap === undefined) {
      if (this.heaps.size >= IDLE_HEAPS) this.dropEmpty();
      this.heaps.set(task.owner, (heap = this.last = new TaskHeap()));
    }
    if (heap.has(task)) return;
    heap.add(task);
    this.server?.enter(task.owner);
  }

  delete(task: WorkerTask): boolean {
    if (this.heaps.get(task.owner)?.delete(task) !== true) return false;
    this.server?.leave(task.owner);
    return true;
  }

  peek(): WorkerTask | undefined {
    if (this.heaps.size === 1) return this.last.peek();
    let best: WorkerTask | undefined;
    for (const heap of this.heaps.values()) {
      const head = heap.peek();
      if (head === undefined) continue;
      if (best === undefined || compareTasks(head, best) < 0) best = head;
    }
    return best;
  }

  *[Symbol.iterator](): IterableIterator<WorkerTask> {
    for (const heap of this.heaps.values()) yield* heap;
  }

  private dropEmpty(): void {
    for (const [share, heap] of this.heaps) if (heap.size === 0) this.heaps.delete(share);
  }
}
