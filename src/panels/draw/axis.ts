/** Ticks of a time axis at round steps, in time since the start of the run. */
import { formatDuration } from '../model/format.ts';

export interface Tick {
  time: number;
  label: string;
}

const STEPS = [
  0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000,
  10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
  7_200_000, 14_400_000, 28_800_000, 86_400_000
];

/** Ticks between two times, at most `most`; labels count from `origin`. */
export function ticks(t0: number, t1: number, origin: number, most: number): Tick[] {
  const wanted = (t1 - t0) / Math.max(1, most);
  const step = STEPS.find(size => size >= wanted) ?? (STEPS.at(-1) as number);
  const found: Tick[] = [];
  const first = Math.ceil((t0 - origin) / step);
  const last = Math.floor((t1 - origin) / step);
  for (let i = first; i <= last && found.length <= most + 1; i++) {
    found.push({ time: origin + i * step, label: tickLabel(i * step, step) });
  }
  return found;
}

function tickLabel(offset: number, step: number): string {
  const sign = offset < 0 ? '-' : '+';
  const size = Math.abs(offset);
  if (step >= 60_000 || size >= 600_000) return sign + formatDuration(size);
  if (step >= 1000) return `${sign}${Math.round(size / 1000)} s`;
  const digits = Math.max(0, 3 - Math.floor(Math.log10(step) + 1e-9));
  if (step >= 1) return `${sign}${(size / 1000).toFixed(digits)} s`;
  return `${sign}${size.toFixed(Math.max(0, digits - 3))} ms`;
}
