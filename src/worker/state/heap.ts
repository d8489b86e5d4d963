/**
 * A set of tasks that gives the one of smallest priority first. Removal is lazy: an entry counts
 * only while the task's own entry is that very one, so a task may leave, change its priority and
 * come back. Sizes are those of the set.
 */
import { comparePriority } from './tasks.ts';
import type { Priority, WorkerTask } from './tasks.ts';

interface Entry {
  task: WorkerTask;
  priority: Priority;
  /** Of equal priorities the one that came first. */
  arrival: number;
}

function comesBefore(a: Entry, b: Entry): boolean {
  const order = comparePriority(a.priority, b.priority);
  return order === 0 ? a.arrival < b.arrival : order < 0;
}

export class TaskHeap {
  private entries: Entry[] = [];
  private readonly members = new Map<WorkerTask, Entry>();
  private arrivals = 0;

  get size(): number {
    return this.members.size;
  }

  has(task: WorkerTask): boolean {
    return this.members.has(task);
  }

  /** Adds the task at its present priority; a member keeps the place it has. */
  add(task: WorkerTask): void {
    if (this.members.has(task)) return;
    const entry = { task, priority: task.priority, arrival: this.arrivals++ };
    this.members.set(task, entry);
    this.entries.push(entry);
    this.up(this.entries.length - 1);
  }

  delete(task: WorkerTask): boolean {
    if (!this.members.delete(task)) return false;
    if (this.entries.length > 64 && this.entries.length > 2 * this.members.size) this.compact();
    return true;
  }

  peek(): WorkerTask | undefined {
    let top = this.entries[0];
    while (top !== undefined && this.members.get(top.task) !== top) {
      this.removeTop();
      top = this.entries[0];
    }
    return top?.task;
  }

  pop(): WorkerTask | undefined {
    const task = this.peek();
    if (task === undefined) return undefined;
    this.members.delete(task);
    this.removeTop();
    return task;
  }

  [Symbol.iterator](): IterableIterator<WorkerTask> {
    return this.members.keys();
  }

  private compact(): void {
    this.entries = [...this.members.values()];
    for (let i = (this.entries.length >> 1) - 1; i >= 0; i--) this.down(i);
  }

  private removeTop(): void {
    const last = this.entries.pop();
    if (last === undefined || this.entries.length === 0) return;
    this.entries[0] = last;
    this.down(0);
  }

  private up(at: number): void {
    const { entries } = this;
    const entry = entries[at] as Entry;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = entries[above] as Entry;
      if (!comesBefore(entry, parent)) break;
      entries[at] = parent;
      at = above;
    }
    entries[at] = entry;
  }

  private down(at: number): void {
    const { entries } = this;
    const entry = entries[at] as Entry;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= entries.length) break;
      const right = entries[child + 1];
      if (right !== undefined && comesBefore(right, entries[child] as Entry)) {
        child++;
      }
      const below = entries[child] as Entry;
      if (!comesBefore(below, entry)) break;
      entries[at] = below;
      at = child;
    }
    entries[at] = entry;
  }
}
