/**
 * Steal requests under way: which task was asked back from which worker, and for whom.
 *
 * A request stands exactly as long as its task is processed by the victim under the run number it
 * was asked back under, and the victim has not answered. So however a task leaves its worker, its
 * request goes with it, and an answer that finds no request has been overtaken. Until then both
 * workers count as if the task had moved already.
 */
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** A task that was asked back. */
export interface StealRequest {
  readonly task: Task;
  readonly runId: number;
  readonly victim: WorkerRecord;
  /** Who is to have it; it may be gone when the answer comes. */
  readonly thief: WorkerRecord;
  /** ms that the victim is rid of, and that the thief takes on. */
  readonly victimMs: number;
  readonly thiefMs: number;
}

/** The book of requests. Few at a time, so nothing of it is kept in tasks. */
export class StealRequests {
  readonly byTask = new Map<Task, StealRequest>();
  /** When work was last looked for. */
  balancedAt = -Infinity;
}

/** Asks the victim to give the task back. */
export function requestSteal(state: SchedulerState, request: StealRequest): void {
  state.stealing.byTask.set(request.task, request);
  count(request, 1);
  state.outbox.steal(request.victim, request.task.id, request.runId);
}

/** The request about the task, if there is one, is over. */
export function dropRequest(state: SchedulerState, task: Task): StealRequest | null {
  const { byTask } = state.stealing;
  if (byTask.size === 0) return null;
  const request = byTask.get(task);
  if (request === undefined) return null;
  byTask.delete(task);
  count(request, -1);
  return request;
}

function count({ victim, thief, victimMs, thiefMs }: StealRequest, sign: 1 | -1): void {
  victim.stealTasks -= sign;
  victim.stealMs -= sign * victimMs;
  thief.stealTasks += sign;
  thief.stealMs += sign * thiefMs;
}
