/**
 * Tasks that wait for room on a worker, each client's in its own order. Every client has room of
 * its own on every worker (placement.ts), so that none stands in the way of another here; whose
 * turn it is, the workers decide, who know what everything takes.
 *
 * Removal is lazy: an entry whose task is not queued any more is skipped.
 */
import type { Share } from '../../base/fair.ts';
import { Heap } from '../../base/heap.ts';
import { runsBefore } from './tasks.ts';
import type { Task } from './tasks.ts';

/** Entries from which on it is worth looking for stale ones. */
const COMPACT_FROM = 1000;

export class TaskQueue {
  private readonly heaps = new Map<Share, Heap<Task>>();
  /** Tasks in state queued; stale entries are not counted. */
  count = 0;
  private entries = 0;

  /** Clients that may have tasks here. */
  get clients(): number {
    return this.heaps.size;
  }

  push(task: Task): void {
    const { owner } = task.demands;
    let heap = this.heaps.get(owner);
    if (heap === undefined) this.heaps.set(owner, (heap = new Heap<Task>(runsBefore)));
    heap.push(task);
    this.entries++;
    this.count++;
  }

  /** Whether a task of the same client waits that is to run before this one. */
  precedes(task: Task): boolean {
    if (this.count === 0) return false;
    const head = this.head(task.demands.owner);
    return head !== undefined && runsBefore(head, task);
  }

  private head(owner: Share): Task | undefined {
    const heap = this.heaps.get(owner);
    let task = heap?.peek();
    while (task !== undefined && task.state !== 'queued') {
      heap?.pop();
      this.entries--;
      task = heap?.peek();
    }
    if (task === undefined) this.heaps.delete(owner);
    return task;
  }

  /** The next task of each client, the most urgent first. */
  heads(): Task[] {
    const heads: Task[] = [];
    for (const owner of this.heaps.keys()) {
      const task = this.head(owner);
      if (task !== undefined) heads.push(task);
    }
    if (heads.length > 1) heads.sort((a, b) => (runsBefore(a, b) ? -1 : 1));
    return heads;
  }

  /** Drops stale entries, when they are many. */
  compact(): void {
    if (this.entries <= COMPACT_FROM || this.entries <= 2 * this.count) return;
    this.entries = 0;
    for (const heap of this.heaps.values()) {
      const seen = new Set<Task>();
      heap.retain(
        task => task.state === 'queued' && !seen.has(task) && seen.add(task) !== undefined
      );
      this.entries += heap.size;
    }
  }
}
