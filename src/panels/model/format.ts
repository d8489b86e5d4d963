/**
 * Numbers as people read them: bytes, durations, counts, ages. Binary units with three digits at
 * most, always a unit. Nothing here knows of locale or DOM, so that the same
 * text stands in a panel, a tooltip, a summary for a screen reader and a test.
 */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Three significant digits without trailing zeros, for values of at least one. */
function three(value: number): string {
  if (value >= 100) return String(Math.round(value));
  if (value >= 10) return String(Math.round(value * 10) / 10);
  return String(Math.round(value * 100) / 100);
}

/** `2.6 GiB`, `512 B`. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes) || bytes < 0) return '–';
  let value = bytes;
  let unit = 0;
  // 1023.6 KiB would round to "1024 KiB": step up before it does.
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : three(value)} ${UNITS[unit] ?? 'B'}`;
}

/** `41 MB/s`, in powers of ten as networks are sold. */
export function formatRate(bytesPerSecond: number): string {
  if (!Number.isFinite(bytesPerSecond) || bytesPerSecond < 0) return '–';
  if (bytesPerSecond < 999.5) return `${Math.round(bytesPerSecond)} B/s`;
  if (bytesPerSecond < 999_500) return `${three(bytesPerSecond / 1e3)} kB/s`;
  if (bytesPerSecond < 999_500_000) return `${three(bytesPerSecond / 1e6)} MB/s`;
  return `${three(bytesPerSecond / 1e9)} GB/s`;
}

/** Two rates in the unit of the larger: `41 ⇄ 38 MB/s`. */
export function formatRatePair(one: number, other: number): string {
  const larger = formatRate(Math.max(one, other));
  const unit = larger.slice(larger.indexOf(' ') + 1);
  const size = { 'B/s': 1, 'kB/s': 1e3, 'MB/s': 1e6, 'GB/s': 1e9 }[unit];
  if (size === undefined) return '–';
  const short = (value: number): string => {
    const scaled = value / size;
    return scaled < 10 ? String(Math.round(scaled * 10) / 10) : String(Math.round(scaled));
  };
  return `${short(one)} ⇄ ${short(other)} ${unit}`;
}

/** `850 µs`, `12.5 ms`, `3.21 s`, `4 min 10 s`, `2 h 05 min`. */
export function formatDuration(ms: number): string {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 0) return `-${formatDuration(-ms)}`;
  if (ms === 0) return '0 s';
  if (ms < 0.9995) return `${three(ms * 1000)} µs`;
  if (ms < 999.5) return `${three(ms)} ms`;
  if (ms < 59_950) return `${three(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  const minutes = Math.round(ms / 60_000);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

/** How long ago, coarsely: `12 s`, `3 min`, `5 h`, `2 d`. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `1 234 567`, its groups apart by narrow spaces that do not break. */
export function formatCount(count: number): string {
  const digits = String(Math.round(count));
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
}

/** Seconds of a progress line: `11.4 s`, `2 min 05 s`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 59.95) return `${(Math.round(seconds * 10) / 10).toFixed(1)} s`;
  return formatDuration(seconds * 1000);
}

/** Share of a whole in percent without decimals; a part is never shown as 0 % or 100 %. */
export function formatPercent(part: number, whole: number): string {
  if (whole <= 0) return '0 %';
  const percent = (100 * part) / whole;
  if (part > 0 && percent < 1) return '<1 %';
  if (part < whole && percent > 99) return '99 %';
  return `${Math.round(percent)} %`;
}

/** `4 workers`, `1 worker`. */
export function plural(count: number, one: string, many: string): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
