/** A small curve as an SVG path. */

export interface SparkPoint {
  time: number;
  value: number;
}

export interface SparkSize {
  width: number;
  height: number;
  t0: number;
  t1: number;
  /** Value at the upper edge; the lower edge is zero. */
  top: number;
}

/** `M0 12L3 8…`; empty when there are fewer than two points in the time range. */
export function sparkline(points: readonly SparkPoint[], size: SparkSize): string {
  const inside = points.filter(point => point.time >= size.t0 && point.time <= size.t1);
  if (inside.length < 2) return '';
  const span = Math.max(1, size.t1 - size.t0);
  return inside
    .map((point, i) => {
      const x = ((point.time - size.t0) / span) * size.width;
      const share = Math.min(1, Math.max(0, point.value / size.top));
      const y = size.height - 1 - share * (size.height - 2);
      return `${i === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join('');
}
