/**
 * Stands at the scheduler's door and keeps books of its own, from what goes in and comes out:
 *   a report of another run than the one that was asked for changes nothing;
 *   a result that was acknowledged is not computed again unless it was lost or let go of;
 *   tasks are given only to running workers that may run them;
 *   of tasks that are freed by one event the first goes first.
 */
import type { Instruction } from '../../src/scheduler/state/outbox.ts';
import type { SchedulerEvent, SchedulerState } from '../../src/scheduler/state/state.ts';
import { runsBefore } from '../../src/scheduler/state/tasks.ts';
import type { Task, TaskState } from '../../src/scheduler/state/tasks.ts';
import type { ComputeTasks, WorkerToScheduler } from '../../src/protocol/messages.ts';
import type { Cluster } from './cluster.ts';

interface Stale {
  task: Task;
  state: TaskState;
  runId: number;
}

/** Events after which a value may be gone that somebody needs. */
const LOSSES = new Set(['remove-worker', 'missing-data', 'release-worker-data']);

export class Ledger {
  /** Unasked ends of workers that a task had been given to, by key. */
  readonly deaths = new Map<string, number>();
  private readonly cluster: Cluster;
  private readonly state: SchedulerState;
  private readonly acknowledged = new Set<number>();
  private stale: Stale[] = [];
  private freed: Task[] = [];

  constructor(cluster: Cluster, state: SchedulerState) {
    this.cluster = cluster;
    this.state = state;
  }

  before(event: SchedulerEvent): void {
    this.stale = [];
    this.freed = [];
    if (event.type === 'worker-message') this.beforeMessage(event.worker, event.message);
    if (event.type !== 'remove-worker') return;
    this.cluster.lossy = true;
    const worker = this.state.workers.get(event.worker);
    for (const task of worker?.processing ?? []) {
      if (!event.expected) this.deaths.set(task.key, (this.deaths.get(task.key) ?? 0) + 1);
      if (task.deps.every(dep => dep.whoHas !== worker)) this.freed.push(task);
    }
    this.freed.sort((a, b) => (runsBefore(a, b) ? -1 : 1));
  }

  private beforeMessage(worker: number, message: WorkerToScheduler): void {
    if (message.op === 'tasks-finished') {
      const fresh = new Set<Task>();
      message.tids.forEach((tid, i) => {
        const task = this.state.tasks.get(tid);
        if (task !== undefined && this.isOf(task, worker, message.runIds[i] as number))
          fresh.add(task);
      });
      message.tids.forEach((tid, i) => {
        const task = this.state.tasks.get(tid);
        if (task !== undefined && !fresh.has(task))
          this.noteStale(worker, tid, message.runIds[i] as number);
      });
      const [only] = fresh;
      if (fresh.size === 1 && only !== undefined) {
        const { dependents } = only;
        const list =
          dependents === null ? [] : dependents instanceof Set ? [...dependents] : [dependents];
        this.freed = list.filter(task => task.waitingOn === 1).sort((a, b) => a.id - b.id);
      }
    } else if (message.op === 'task-erred' || message.op === 'reschedule') {
      this.noteStale(worker, message.tid, message.runId);
    }
  }

  private isOf(task: Task, worker: number, runId: number): boolean {
    return task.processingOn?.id === worker && task.runId === runId;
  }

  private noteStale(worker: number, tid: number, runId: number): void {
    const task = this.state.tasks.get(tid);
    if (task === undefined || this.isOf(task, worker, runId)) return;
    this.stale.push({ task, state: task.state, runId: task.runId });
  }

  after(event: SchedulerEvent, instructions: readonly Instruction[]): void {
    for (const { task, state, runId } of this.stale) {
      if (task.state === state && task.runId === runId) continue;
      throw new Error(`a report of a stale run changes ${task.key} from ${state} to ${task.state}`);
    }
    this.checkAcknowledged(event);
    for (const instruction of instructions) {
      if (instruction.to !== 'worker' || instruction.message.op !== 'compute-tasks') continue;
      this.checkPlacement(instruction.worker, instruction.message);
    }
    this.checkOrder();
  }

  private checkAcknowledged(event: SchedulerEvent): void {
    const op = 'message' in event ? event.message.op : event.type;
    for (const tid of this.acknowledged) {
      const task = this.state.tasks.get(tid);
      if (task?.state === 'memory') continue;
      this.acknowledged.delete(tid);
      if (task?.needed === true && !LOSSES.has(op)) {
        throw new Error(
          `${op} throws away the result of ${task.key}, which is needed and not lost`
        );
      }
    }
    if (event.type !== 'worker-message' || event.message.op !== 'tasks-finished') return;
    for (const tid of event.message.tids) {
      if (this.state.tasks.get(tid)?.state === 'memory') this.acknowledged.add(tid);
    }
  }

  private checkPlacement(id: number, message: ComputeTasks): void {
    const worker = this.state.workers.get(id);
    if (worker?.status !== 'running')
      throw new Error(`worker ${id} is given tasks and is not running`);
    for (const tid of message.tids) {
      const task = this.state.tasks.get(tid) as Task;
      const { workers, allowOtherWorkers, resources } = task.demands;
      const { name, address, host } = worker.facts;
      const named = workers === null || [name, address, host].some(one => workers.includes(one));
      const able = Object.entries(resources ?? {}).every(
        ([resource, amount]) => (worker.facts.resources[resource] ?? 0) >= amount
      );
      if (!able || (!named && !allowOtherWorkers)) {
        throw new Error(`${task.key} is given to worker ${id}, which may not run it`);
      }
    }
  }

  /** Of tasks of one group that were set free at once, none overtakes one that comes before it. */
  private checkOrder(): void {
    let last: Task | null = null;
    for (const task of this.freed) {
      if (task.state !== 'processing') continue;
      if (last !== null && last.group === task.group && last.demands === task.demands) {
        if (task.runId < last.runId) throw new Error(`${task.key} is placed before ${last.key}`);
      }
      last = task;
    }
  }
}
