/** Spans of time as people read them. */

/** `0.5 s`, `5 min`, `1.5 h`. */
export function formatDuration(ms: number): string {
  if (ms < 60_000) return `${round(ms / 1000)} s`;
  if (ms < 3_600_000) return `${round(ms / 60_000)} min`;
  return `${round(ms / 3_600_000)} h`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
