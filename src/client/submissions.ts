/** Who hears of submitted work: a notebook that shows bars under its cells. */
import type { Future } from './future.ts';

type Listener = (futures: readonly Future[]) => void;

let listener: Listener | null = null;

/** Calls back with the futures of each call that submits; there is one listener. */
export function onSubmission(hears: Listener): void {
  listener = hears;
}

/** Tells of the futures of one call. */
export function tellSubmission(futures: readonly Future[]): void {
  listener?.(futures);
}
