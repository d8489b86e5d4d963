/**
 * Collects garbage when memory is short. The buffers of values are a few bytes on JavaScript's
 * heap, so its own collector sees no reason to hurry. Never more than 5 % of a thread's time.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Time between two collections, in times of what the last took. */
const REST = 19;

export class GarbageCollector {
  private gc: (() => void) | null = null;
  private notBefore = 0;

  /** False when it was not yet time for another. */
  collect(): boolean {
    const start = performance.now();
    if (start < this.notBefore) return false;
    this.gc ??= collector();
    this.gc?.();
    const end = performance.now();
    this.notBefore = end + REST * (end - start);
    return true;
  }
}

/**
 * V8's own, which a flag uncovers; null when it did not: the flag is the whole process's, and
 * another thread has taken it back at this very moment. The next call tries again.
 */
function collector(): (() => void) | null {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('globalThis.gc');
  // Threads that start later do not get it as a global.
  setFlagsFromString('--no-expose-gc');
  return typeof gc === 'function' ? (gc as () => void) : null;
}
