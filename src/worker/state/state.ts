/**
 * The pure state of a worker: events in, instructions out. It knows no clock, socket, thread or
 * log; `now` comes with the event and randomness from a seed, so the same events give the same
 * instructions. Its shell (worker.ts) carries them out and reports what came of it.
 */
import { WorkerCore } from './core.ts';
import type { LogEntry, WorkerStateOptions } from './core.ts';
import type { Instruction, WorkerEvent } from './events.ts';
import { ensureCommunicating } from './gather.ts';
import { dispatch } from './handlers.ts';
import { ensureComputing, giveBackQueued } from './ready.ts';
import { WORKER_STATES } from './tasks.ts';
import type { WorkerTask, WorkerTaskState } from './tasks.ts';
import { transitions } from './transitions.ts';
import { validateCore } from './validate.ts';

export type { LogEntry, WorkerStateOptions } from './core.ts';
export type { Instruction, WorkerEvent } from './events.ts';
export type { WorkerTask, WorkerTaskState } from './tasks.ts';

/** Numbers for heartbeats and panels. */
export interface WorkerCounts {
  executing: number;
  longRunning: number;
  ready: number;
  inFlight: number;
  /** Bytes of the values in memory. */
  managed: number;
}

export class WorkerState {
  private readonly core: WorkerCore;

  constructor(options: WorkerStateOptions) {
    this.core = new WorkerCore(options);
  }

  /** Takes in one event and returns what is to be done, in order. */
  handle(event: WorkerEvent, now: number): Instruction[] {
    const { core } = this;
    core.begin(now, 'stimulus' in event ? event.stimulus : undefined, event.op);
    dispatch(core, event);
    transitions(core);
    if (core.draining) {
      giveBackQueued(core);
      transitions(core);
    }
    ensureCommunicating(core);
    ensureComputing(core);
    return core.take();
  }

  /** Throws when the state contradicts itself. */
  validate(): void {
    validateCore(this.core);
  }

  /** The last transitions of a task, by number or key, oldest first. */
  story(which: number | string): string[] {
    return this.core.log.of(which);
  }

  /** What happened to tasks of these keys (null: of all), oldest first. */
  history(keys: ReadonlySet<string> | null): LogEntry[] {
    return this.core.log.select(({ key }) => keys === null || keys.has(key));
  }

  get(tid: number): Readonly<WorkerTask> | undefined {
    return this.core.tasks.get(tid);
  }

  /** All known tasks, by number. */
  get tasks(): ReadonlyMap<number, Readonly<WorkerTask>> {
    return this.core.tasks;
  }

  get paused(): boolean {
    return !this.core.running;
  }

  /** Handed to executors and not finished, cancelled ones included. */
  get executing(): ReadonlySet<Readonly<WorkerTask>> {
    return this.core.executing;
  }

  get counts(): WorkerCounts {
    const { core } = this;
    let inFlight = 0;
    for (const request of core.gathering.values()) inFlight += request.tasks.length;
    return {
      executing: core.executing.size,
      longRunning: core.longRunning.size,
      ready: core.ready.size + core.constrained.size,
      inFlight,
      managed: core.nbytes
    };
  }

  /** How many tasks are in each state. */
  countStates(): Record<WorkerTaskState, number> {
    const counts = Object.fromEntries(WORKER_STATES.map(state => [state, 0]));
    for (const task of this.core.tasks.values()) counts[task.state] = (counts[task.state] ?? 0) + 1;
    return counts as Record<WorkerTaskState, number>;
  }

  /** When the next running task passes its timeout, ms since the epoch; Infinity = none. */
  get nextDeadline(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const task of this.core.timed) next = Math.min(next, task.deadline);
    return next;
  }
}
