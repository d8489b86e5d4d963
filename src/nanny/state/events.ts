/**
 * What happens to a nanny, and what it then wants done. The state (state.ts) turns the one into
 * the other; the shell (../nanny.ts) owns processes, clock, timers and links.
 */
import type { NannyStatus, WorkerExited } from '../../protocol/messages.ts';

/** How the shell saw a worker's process end. */
export interface ProcessEnd {
  pid: number;
  code: number | null;
  signal: string | null;
  /** Why the process could not be started at all, or null. */
  startError: string | null;
  /** The reason it gave itself, or null. */
  said: string | null;
  /** The kernel's out-of-memory killer has been at work on this machine since it started. */
  kernelKilled: boolean;
  lastLines: string[];
  /** What its executors ran; absent when that is unknown. */
  executing?: { tids: number[]; runIds: number[] } | null;
}

export type NannyEvent =
  /** Have this many workers; end those named in `close` first, then the youngest. */
  | { type: 'scale'; workers: number; close: readonly string[] }
  /** End these and have so many fewer. */
  | { type: 'close-workers'; names: readonly string[]; reason: string }
  /** Start these (null: all) anew, and give those that were given up another chance. */
  | { type: 'restart-workers'; names: readonly string[] | null }
  /** The worker has registered with the scheduler. */
  | { type: 'worker-ready'; name: string }
  /** Its resident bytes, read from the operating system; `tree`: with all processes below it. */
  | { type: 'worker-memory'; name: string; rss: number; tree?: number }
  | { type: 'worker-exited'; name: string; end: ProcessEnd }
  /** The link to the scheduler is down; it may come back. */
  | { type: 'scheduler-lost' }
  | { type: 'scheduler-back' }
  | { type: 'close'; reason: string }
  /** The time that `nextWake` asked for has come. */
  | { type: 'tick' };

export type NannyInstruction =
  | { op: 'spawn'; name: string }
  /** Tell the process to end by itself. */
  | { op: 'ask'; name: string; reason: string }
  | { op: 'signal'; name: string; signal: 'SIGTERM' | 'SIGKILL' }
  /** For the scheduler, without delay. */
  | WorkerExited
  /** For the scheduler, when it has changed. */
  | NannyStatus
  | { op: 'log'; line: string }
  /** No process is left and none will be started. */
  | { op: 'finished'; reason: string };
