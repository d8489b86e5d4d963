/** Settings of a worker's memory, the events that it takes and the instructions that it gives. */

/** Parts of the limit; 0 switches a threshold off. */
export interface MemorySettings {
  /** Bytes; 0 = no limit: nothing is spilled and nobody pauses. */
  memoryLimit: number;
  /** Of the values. Default 0.6. */
  target: number;
  /** Of the process. Default 0.7. */
  spill: number;
  /** Of the process. Default 0.8. */
  pause: number;
  /** Bytes that files may take; 0 = as many as fit. */
  maxSpill: number;
}

/** Dask's. */
export const MEMORY_DEFAULTS: Omit<MemorySettings, 'memoryLimit'> = {
  target: 0.6,
  spill: 0.7,
  pause: 0.8,
  maxSpill: 0
};

/** What happens to values, files and the process. */
export type MemoryEvent =
  /** A value has come into memory. */
  | { op: 'put'; tid: number; nbytes: number }
  /** These are used: they must be, and stay, in memory until as many `unpin` have come. */
  | { op: 'pin'; tids: readonly number[] }
  | { op: 'unpin'; tids: readonly number[] }
  /** Nobody needs them any more. */
  | { op: 'drop'; tids: readonly number[] }
  /** Resident bytes of the process. */
  | { op: 'measured'; rss: number }
  /** `nbytes` is the size of the file. */
  | { op: 'spill-done'; file: number; nbytes: number }
  /** There is no such file. */
  | { op: 'spill-failed'; file: number; full: boolean; text: string }
  | { op: 'read-done'; file: number }
  | { op: 'read-failed'; file: number; text: string };

/** What is to be done about it. */
export type MemoryInstruction =
  /** Write the value to this file; answer spill-done or spill-failed. */
  | { op: 'spill'; tid: number; file: number }
  /** Read it from there; answer read-done or read-failed. */
  | { op: 'read'; tid: number; file: number }
  /** What was read is wanted still: it is in memory from now on. */
  | { op: 'keep'; tid: number; file: number }
  /** Its file holds it: let go of what is in memory. */
  | { op: 'evict'; tid: number }
  /** It could not be read back and is held no more. */
  | { op: 'lost'; tid: number; text: string }
  | { op: 'delete'; file: number }
  | { op: 'collect-garbage' }
  | { op: 'pause'; reason: string }
  | { op: 'unpause' }
  | { op: 'log'; level: 'info' | 'warn'; text: string };
