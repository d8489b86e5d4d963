/**
 * Stands at the scheduler's door and keeps books of its own, from what goes in and comes out:
 *   a report of another run than the one that was asked for changes nothing;
 *   a result that was acknowledged is not computed again unless it was lost or let go of;
 *   tasks are given only to running workers that may run them, and to one at a time;
 *   of tasks that are freed by one event the first goes first.
 */
import type { Instruction } from '../../src/scheduler/state/outbox.ts';
import type { SchedulerEvent, SchedulerState } from '../../src/scheduler/state/state.ts';
import { runsBefore } from '../../src/scheduler/state/tasks.ts';
import type { Task, TaskState } from '../../src/scheduler/state/tasks.ts';
import type { ComputeTasks, WorkerToScheduler } from '../../src/protocol/messages.ts';
import { smallList } from '../../src/base/small-set.ts';
import type { WorkerRecord } from '../../src/scheduler/state/workers.ts';
import type { Cluster } from './cluster.ts';

/** Answers to a steal request of a worker that keeps the task. */
const KEPT = new Set(['executing', 'long-running', 'memory', 'cancelled', 'resumed']);

interface Stale {
  task: Task;
  state: TaskState;
  runId: number;
}

/** Events after which a value may be gone that somebody needs. */
const LOSSES = new Set(['remove-worker', 'missing-data', 'release-worker-data']);

export class Ledger {
  private readonly cluster: Cluster;
  private readonly state: SchedulerState;
  private readonly acknowledged = new Set<number>();
  /** Who has each task, as far as was said: given to it, and neither taken nor given back. */
  private readonly given = new Map<number, Set<number>>();
  private readonly ready = new Set<WorkerRecord>();
  private stale: Stale[] = [];
  private freed: Task[] = [];

  constructor(cluster: Cluster, state: SchedulerState) {
    this.cluster = cluster;
    this.state = state;
  }

  /** Workers that may be closed without loss: every value of theirs is elsewhere, too. */
  private checkRetirements(): void {
    for (const [worker, retirement] of this.state.retirements) {
      if (retirement.outcome !== 'ready' || this.ready.has(worker)) continue;
      this.ready.add(worker);
      if (retirement.lost === 0) this.checkRetired(worker);
    }
  }

  private checkRetired(worker: WorkerRecord): void {
    for (const task of worker.hasWhat) {
      const others = smallList(task.whoHas).filter(
        one => one !== worker && one.status !== 'closing'
      );
      if (others.length > 0) continue;
      throw new Error(`worker ${worker.id} may leave and is the last that holds ${task.key}`);
    }
  }

  before(event: SchedulerEvent): void {
    this.stale = [];
    this.freed = [];
    if (event.type === 'worker-message') this.beforeMessage(event.worker, event.message);
    if (event.type !== 'remove-worker') return;
    this.cluster.lossy = true;
    const worker = this.state.workers.get(event.worker);
    const { deaths } = this.cluster;
    for (const task of worker?.processing ?? []) {
      const ran = event.executing?.tids.includes(task.id) ?? true;
      if (ran && !event.expected) deaths.set(task.key, (deaths.get(task.key) ?? 0) + 1);
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
        this.freed = smallList(only.dependents)
          .filter(task => task.waitingOn === 1)
          .sort((a, b) => a.id - b.id);
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
    this.checkOwners(event, instructions);
    for (const instruction of instructions) {
      if (instruction.to !== 'worker' || instruction.message.op !== 'compute-tasks') continue;
      this.checkPlacement(instruction.worker, instruction.message);
    }
    this.checkOrder();
    this.checkRetirements();
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

  /** A task is given to another worker only when it was given back, or taken away at once. */
  private checkOwners(event: SchedulerEvent, instructions: readonly Instruction[]): void {
    if (event.type === 'worker-message') this.givenBack(event.worker, event.message);
    if (event.type === 'remove-worker') {
      for (const owners of this.given.values()) owners.delete(event.worker);
    }
    const touched = new Set<Set<number>>();
    for (const one of instructions) {
      if (one.to !== 'worker') continue;
      const { worker, message } = one;
      if (message.op === 'compute-tasks') {
        for (const tid of message.tids) touched.add(this.ownersOf(tid).add(worker));
      } else if (message.op === 'free-keys' || message.op === 'cancel-compute') {
        for (const tid of message.tids) this.given.get(tid)?.delete(worker);
      }
    }
    for (const owners of touched) {
      if (owners.size < 2) continue;
      const [tid] = [...this.given].find(([, one]) => one === owners) ?? [0];
      const key = this.state.tasks.get(tid)?.key;
      throw new Error(`${key} is given to workers ${[...owners].join(' and ')} at once`);
    }
  }

  private ownersOf(tid: number): Set<number> {
    let owners = this.given.get(tid);
    if (owners === undefined) this.given.set(tid, (owners = new Set()));
    return owners;
  }

  private givenBack(worker: number, message: WorkerToScheduler): void {
    const back = (tid: number): void => {
      this.given.get(tid)?.delete(worker);
    };
    if (message.op === 'tasks-finished') message.tids.forEach(back);
    else if (message.op === 'task-erred' || message.op === 'reschedule') back(message.tid);
    else if (message.op === 'steal-response') {
      message.tids.forEach((tid, i) => {
        if (!KEPT.has(message.states[i] ?? '')) back(tid);
      });
    }
  }

  private checkPlacement(id: number, message: ComputeTasks): void {
    const worker = this.state.workers.get(id);
    if (worker?.status !== 'running')
      throw new Error(`worker ${id} is given tasks and is not running`);
    for (const tid of message.tids) {
      const task = this.state.tasks.get(tid);
      // Given and taken away by one event.
      if (task === undefined) continue;
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
