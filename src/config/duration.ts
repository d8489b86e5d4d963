/** Spans of time as people write them. */
import { ConfigError } from '../base/errors.ts';

const UNITS: Record<string, number> = {
  '': 1000,
  ms: 1,
  s: 1000,
  sec: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000
};

/** ms of a number of seconds or of text such as `90`, `500 ms`, `5 min`, `1.5h`. Throws ConfigError. */
export function parseDuration(text: string | number): number {
  const match = /^\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*$/i.exec(String(text));
  const unit = UNITS[match?.[2]?.toLowerCase() ?? '?'];
  if (match === null || unit === undefined) {
    throw new ConfigError(
      `"${text}" is not a span of time. Write seconds, or a number with a unit such as "500 ms", ` +
        `"5 min", "2 h"; 0 is off.`
    );
  }
  return Number(match[1]) * unit;
}

/** ms of a time to leave in that the scheduler may use: the rest is for the end of processes. */
export function drainTime(ms: number): number {
  return Math.max(ms / 2, ms - 1000);
}
