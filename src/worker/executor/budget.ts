/** How a worker's memory limit is divided between its executors. */
const MIB = 2 ** 20;
const LIVE_BYTES = 64 * MIB;
/** Part of a worker's memory that live copies in its executors may fill together. */
const LIVE_SHARE = 0.1;
/** Part of a worker's memory that the heaps of its threads may fill together. */
const HEAP_SHARE = 0.8;
/** What the process needs beside them: else its nanny would end it before a heap is full. */
const OWN_BYTES = 144 * MIB;
const LEAST_HEAP = 64 * MIB;
/** Part of a thread's memory that may pass through it between collections of garbage. */
const GARBAGE_SHARE = 0.1;
const LEAST_GARBAGE = 8 * MIB;
const MOST_GARBAGE = 32 * MIB;

/** Of one thread. */
export interface Budget {
  /** MiB that its heap may fill; 0 = no limit. */
  heapMb: number;
  /** Bytes of results that it may keep live. */
  liveBytes: number;
  /** Bytes that may pass through it between collections; 0 = it is not asked for any. */
  garbageBytes: number;
}

/** The part of each of `nthreads` threads; without a limit (0) only live copies have one. */
export function budgetOf(memoryLimit: number, nthreads: number): Budget {
  if (memoryLimit === 0) return { heapMb: 0, liveBytes: LIVE_BYTES, garbageBytes: 0 };
  const heap = Math.min(memoryLimit * HEAP_SHARE, memoryLimit - OWN_BYTES) / nthreads;
  const garbage = Math.min(MOST_GARBAGE, (memoryLimit * GARBAGE_SHARE) / nthreads);
  return {
    heapMb: Math.max(LEAST_HEAP, Math.floor(heap / MIB) * MIB) / MIB,
    liveBytes: Math.min(LIVE_BYTES, (memoryLimit * LIVE_SHARE) / nthreads),
    garbageBytes: Math.max(LEAST_GARBAGE, garbage)
  };
}
