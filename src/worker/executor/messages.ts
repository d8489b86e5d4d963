/**
 * What the control thread and an executor thread say to each other, in batches. All numbers of a
 * batch lie in one list, row after row, all small arguments and results in one buffer, and what is
 * empty is left out: of a message with a single task most of the cost is its fields.
 *
 * Every task that is handed over has a sequence number and a cell of shared memory that holds it
 * while the task has not begun. Whoever replaces the number first has it: the thread (BEGUN) to run
 * it, or the control thread (TAKEN) to take it back. Cell 0 holds the number of the running task.
 */
import type { TaskWorker } from '../../base/task-context.ts';
import type { Language } from '../../protocol/messages.ts';
import type { Family } from '../../serialize/value.ts';

/** Numbers of a task, and of a result, in `rows`. */
export const TASK_ROW = 7;
export const RESULT_ROW = 6;
/** Buffers of fewer bytes are copied into a message: that is cheaper than handing them over. */
export const HAND_OVER_FROM = 4096;
/** Frames of at least so many bytes stay apart from others: their own buffers are handed over. */
export const LARGE_FRAME = 16 * 1024;

export const BEGUN = -1;
export const TAKEN = -2;

/** What a thread is told when it is made. */
export interface ThreadSetup {
  cells: Int32Array;
  /** Folder from which tasks' imports are resolved. */
  root: string;
  /** Address of the worker, for error records. */
  address: string;
  /** Largest result in bytes; 0 = no limit. */
  memoryLimit: number;
  /** Bytes of values that are kept live. */
  liveBytes: number;
  /** Bytes of inputs and results after which garbage is collected; 0 = when the engine sees fit. */
  garbageBytes: number;
  /** Which of the worker's threads it is, and the file in which it notes what it runs, or ''. */
  lane: number;
  lastWords: string;
  /** For what tasks ask of their executor; null: nothing. */
  context: { worker: TaskWorker; scheduler: { address: string; token: string } } | null;
}

/** A value that the thread does not have yet. */
export interface SentValue {
  tid: number;
  family: Family;
  frames: Uint8Array[];
}

export interface SentFunction {
  fn: number;
  name: string;
  blob: Uint8Array;
  language: Language;
}

/** To the thread. */
export interface TaskBatch {
  op: 'tasks';
  /** Of each task `TASK_ROW` numbers: seq, cell, tid, runId, fn, 1 to say when it begins, end of its arguments. */
  rows: number[];
  keys: string[];
  /** Dependencies of each task, in the order its arguments refer to them; null = none. */
  deps: (number[] | null)[];
  /** Arguments of all tasks (packFrames), one after the other. */
  args: Uint8Array;
  functions?: SentFunction[];
  values?: SentValue[];
}
/** Values and functions that nobody will ask for again. */
export interface DropBatch {
  op: 'drop';
  tids: number[];
  fns: number[];
}
/** Memory is short: let go of live values and collect garbage, when no task runs. */
export interface CollectGarbage {
  op: 'collect-garbage';
}
export type ToThread = TaskBatch | DropBatch | CollectGarbage;

/** What an error record needs of a failure; key and worker are added by the control thread. */
export interface Failure {
  code: string;
  message: string;
  traceback: string;
  exception: Uint8Array | null;
}

/** From the thread: what has ended since the last batch. */
export interface ResultBatch {
  op: 'results';
  /**
   * Of each result `RESULT_ROW` numbers: seq, start, duration, bytes, how many frames (0 = it failed,
   * see failures), 1 if the value is live in this thread.
   */
  rows: number[];
  types: string[];
  families: Family[];
  /** Lengths of all frames; a frame is the next part of `small`, or if negative the next of `large`. */
  lengths: number[];
  small: Uint8Array;
  large?: Uint8Array[];
  failures?: Failure[];
  /** Values that are live no more. */
  evicted?: number[];
}
/** A task that asked for it begins. */
export interface BeganMessage {
  op: 'began';
  seq: number;
}
/** It needs values that were thought to be live: send it again with all of them. */
export interface LackingMessage {
  op: 'lacking';
  seqs: number[];
}
/** The task goes on and has left its slot, after so many ms. */
export interface SecededMessage {
  op: 'seceded';
  seq: number;
  duration: number;
}
/** A task that had left has the thread to itself again. */
export interface RejoinedMessage {
  op: 'rejoined';
  seq: number;
}
/** The task threw Reschedule. */
export interface RescheduleMessage {
  op: 'reschedule';
  seq: number;
}
/** Text that a task wrote. */
export interface LogMessage {
  op: 'log';
  key: string;
  level: 'info' | 'error';
  text: string;
}
/** Its code has been loaded. */
export interface ReadyMessage {
  op: 'ready';
}
export type FromThread =
  | ReadyMessage
  | ResultBatch
  | BeganMessage
  | LackingMessage
  | SecededMessage
  | RejoinedMessage
  | RescheduleMessage
  | LogMessage;
