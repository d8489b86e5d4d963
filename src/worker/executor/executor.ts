/**
 * What a pool knows of an executor, whether it is a thread that runs JavaScript or a process that
 * runs Python: tasks are handed to it, taken back while they have not begun, and it dies alone.
 */
import type { Language } from '../../protocol/messages.ts';
import type { StoredValue } from '../store.ts';
import type { SentFunction } from './messages.ts';

/** A task as it is handed to an executor. */
export interface Handed {
  tid: number;
  runId: number;
  key: string;
  fn: number;
  args: Uint8Array;
  deps: number[] | null;
  /** 1: say when it begins. */
  announce: boolean;
  seq: number;
  /** -1: it has left its slot once, and cannot be taken back any more. */
  cell: number;
}

/** How an executor ended. */
export interface Death {
  /** The task whose code ran; several when nobody knows which of them it was. */
  running: Handed[];
  /** Those that had not begun, or whose results were lost with the executor. */
  others: Handed[];
  outOfMemory: boolean;
  exitCode: number;
  /** By which a process ended; null = by none. */
  signal: string | null;
  /** It was ended by `kill`. */
  killed: boolean;
  /** Its own code never came to run. */
  stillborn: boolean;
  /** What it died of, if it said so. */
  error: string;
}

export interface Executor {
  readonly language: Language;
  readonly lane: number;
  /** What is handed over and not finished, by sequence number, in the order of handing over. */
  readonly queue: Map<number, Handed>;
  /** Tasks that have left their slot and go on. */
  readonly away: Map<number, Handed>;
  /** Values that are live in it, as far as is known here. */
  readonly live: Set<number>;
  readonly known: Set<number>;
  /** How many more it can be handed. */
  readonly room: number;
  /** Queues a task for the next `post`. */
  hand(task: Omit<Handed, 'seq' | 'cell'>): Handed;
  sendFunction(sent: SentFunction): void;
  sendValue(tid: number, value: StoredValue): void;
  /** Sends what has been handed since the last call, as one message. */
  post(): void;
  drop(tids: number[], fns: number[]): void;
  collectGarbage(): void;
  /** Takes a task back if it has not begun, and that can be known at once. */
  recall(task: Handed): boolean;
  /** Takes tasks back that have not begun, which may take a moment; those that were. */
  recallLater(tasks: readonly Handed[]): Promise<Handed[]>;
  hasBegun(task: Handed): boolean;
  /** The task is over. */
  finish(seq: number): Handed | undefined;
  /** The task has left its slot, or come back to it. */
  move(seq: number, leaves: boolean): Handed | undefined;
  /** Ends it; its death is told. */
  kill(): void;
  /** Ends it and nobody is told. */
  close(): Promise<void>;
}
