/**
 * `await progress(futures)`: a bar for each function under the cell, kept in the notebook. The
 * bundle holds the custom MIME type that the lab's renderer draws, and html and text for every
 * other front end; at most five updates a second are sent, and a last one when all have ended.
 * Outside a notebook the bars are drawn on the terminal.
 */
import type { Future } from '../client/future.ts';
import { settled } from '../client/waiting.ts';
import { shownByHand } from './automatic.ts';
import { Bars } from './bars.ts';
import { displayer } from './display.ts';
import { dataOf } from './progress-data.ts';

export interface ProgressOptions {
  /** Seconds between updates. Default 0.2, at least 0.2 in a notebook. */
  interval?: number;
  /** Name of a row, from the future's function name. Default: the name itself. */
  groupBy?: (name: string, future: Future) => string;
}

/** Draws progress until none of the futures is pending. Failures are shown, not thrown. */
export async function progress(
  futures: Future | Iterable<Future>,
  options: ProgressOptions = {}
): Promise<void> {
  const list =
    'record' in (futures as object) ? [futures as Future] : [...(futures as Iterable<Future>)];
  const session = list[0]?.session;
  if (session === undefined) return;
  const bars = new Bars(session);
  bars.add(list, options.groupBy);
  shownByHand();
  const display = displayer();
  const interval = Math.max(0.2, options.interval ?? 0.2);
  const interrupted = onInterrupt();
  try {
    for (let first = true; ; first = false) {
      const pending = bars.count();
      const asked = first ? undefined : await bars.askStates();
      await display.show(dataOf(bars.bundle(asked)), first);
      if (pending === 0) return;
      const pause = new Promise(resolve => setTimeout(resolve, interval * 1000));
      await Promise.race([settled(session, list), pause, interrupted.promise]);
      if (interrupted.happened) return;
    }
  } finally {
    interrupted.stop();
    display.end();
  }
}

/** The kernel's interrupt, when there is a kernel. */
function onInterrupt(): { promise: Promise<void>; happened: boolean; stop(): void } {
  const target = (globalThis as Record<symbol, unknown>)[Symbol.for('taskloom.interrupt')] as
    EventTarget | undefined;
  let listener: () => void = () => undefined;
  const state = {
    happened: false,
    promise: new Promise<void>(resolve => {
      listener = () => {
        state.happened = true;
        resolve();
      };
    }),
    stop: () => target?.removeEventListener('interrupt', listener)
  };
  target?.addEventListener('interrupt', listener);
  return state;
}
