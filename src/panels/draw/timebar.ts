/** The bar below the task stream: how busy the whole run was, and which part of it is in view. */
import type { Overview } from '../model/overview.ts';
import type { Theme } from './theme.ts';
import type { Extent } from './viewport.ts';

export interface TimeBarScene {
  overview: Overview;
  extent: Extent;
  theme: Theme;
  width: number;
  height: number;
  t0: number;
  t1: number;
}

/** The time at a place of the bar. */
export function timeAt(scene: Pick<TimeBarScene, 'extent' | 'width'>, x: number): number {
  const { first, last } = scene.extent;
  return first + ((last - first) * x) / Math.max(1, scene.width);
}

/** Draws the bar. */
export function paintTimeBar(context: CanvasRenderingContext2D, scene: TimeBarScene): void {
  const { theme, width, height, overview, extent } = scene;
  context.clearRect(0, 0, width, height);
  context.fillStyle = theme.idle;
  context.fillRect(0, 0, width, height);
  const span = extent.last - extent.first;
  if (!(span > 0)) return;
  const peak = overview.peak();
  context.fillStyle = theme.muted;
  context.globalAlpha = 0.55;
  for (let x = 0; x < width; x++) {
    const time = timeAt(scene, x + 0.5);
    const bin = Math.floor((time - overview.origin) / overview.width);
    const busy = (overview.bins[bin] ?? 0) / peak;
    if (busy > 0) context.fillRect(x, height, 1, -Math.max(1, busy * (height - 2)));
  }
  context.globalAlpha = 1;
  const left = ((scene.t0 - extent.first) / span) * width;
  const right = ((scene.t1 - extent.first) / span) * width;
  const x0 = Math.max(0.5, Math.min(width - 4, left));
  const x1 = Math.max(x0 + 3, Math.min(width - 0.5, right));
  context.strokeStyle = theme.accent;
  context.lineWidth = 1;
  context.strokeRect(Math.round(x0) + 0.5, 0.5, Math.round(x1 - x0) - 1, height - 1);
  context.globalAlpha = 0.12;
  context.fillStyle = theme.accent;
  context.fillRect(x0, 0, x1 - x0, height);
  context.globalAlpha = 1;
}
