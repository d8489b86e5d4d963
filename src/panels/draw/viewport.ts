/**
 * Which time a task stream shows. Three modes: `live` ends at the newest bar, `fit` spans all
 * bars, `fixed` is where the user left it; new data never move a fixed view. All functions are
 * pure; times are ms since the epoch, where a double resolves a quarter of a microsecond, so the
 * narrowest view of 0.05 ms still has two hundred distinct places.
 */

export interface Viewport {
  mode: 'live' | 'fit' | 'fixed';
  t0: number;
  t1: number;
  /** Width of the live view once the run is longer than that. */
  liveSpan: number;
}

/** What there is to see. `first > last` means nothing yet. */
export interface Extent {
  first: number;
  last: number;
}

/** Narrowest and widest view in ms. */
export const SPAN_MIN = 0.05;
export const SPAN_MAX = 7 * 86_400_000;
/** The live view of a long run. */
export const LIVE_SPAN = 30_000;
/** A run shorter than this is not stretched over the whole width. */
const FIT_MIN = 500;

/** A view that follows the newest bars. */
export function liveViewport(): Viewport {
  return { mode: 'live', t0: 0, t1: 1000, liveSpan: LIVE_SPAN };
}

/** The view after new data: moved in `live` and `fit`, untouched in `fixed`. */
export function follow(view: Viewport, extent: Extent): Viewport {
  if (view.mode === 'fixed' || extent.first > extent.last) return view;
  const all = Math.max(FIT_MIN, extent.last - extent.first);
  const span = view.mode === 'fit' ? all : Math.min(view.liveSpan, all);
  const margin = span * 0.01;
  const t1 = extent.last + margin;
  return { ...view, t0: t1 - span - 2 * margin, t1 };
}

/** Zooms by a factor (> 1 shows more time) and keeps the time at `share` of the width in place. */
export function zoom(view: Viewport, factor: number, share: number): Viewport {
  const span = clampSpan((view.t1 - view.t0) * factor);
  if (view.mode === 'live' && share >= 1) {
    return { ...view, liveSpan: span, t0: view.t1 - span };
  }
  const anchor = view.t0 + (view.t1 - view.t0) * share;
  return { ...view, mode: 'fixed', t0: anchor - span * share, t1: anchor + span * (1 - share) };
}

/** Moves by a share of the width; positive is later. */
export function pan(view: Viewport, share: number): Viewport {
  const step = (view.t1 - view.t0) * share;
  return { ...view, mode: 'fixed', t0: view.t0 + step, t1: view.t1 + step };
}

/** Shows exactly this time. */
export function showTime(view: Viewport, t0: number, t1: number): Viewport {
  const span = clampSpan(Math.abs(t1 - t0));
  const middle = (t0 + t1) / 2;
  return { ...view, mode: 'fixed', t0: middle - span / 2, t1: middle + span / 2 };
}

/** The view that a key asks for, or null when the key means nothing here. */
export function byKey(view: Viewport, key: string): Viewport | null {
  const edge = view.mode === 'live' ? 1 : 0.5;
  switch (key) {
    case 'ArrowLeft':
    case 'a':
      return pan(view, -0.15);
    case 'ArrowRight':
    case 'd':
      return pan(view, 0.15);
    case 'ArrowUp':
    case 'w':
    case '+':
    case '=':
      return zoom(view, 1 / 1.4, edge);
    case 'ArrowDown':
    case 's':
    case '-':
      return zoom(view, 1.4, edge);
    case 'f':
      return { ...view, mode: 'fit' };
    case 'l':
    case 'End':
      return { ...view, mode: 'live' };
    default:
      return null;
  }
}

function clampSpan(span: number): number {
  return Math.min(SPAN_MAX, Math.max(SPAN_MIN, span));
}
