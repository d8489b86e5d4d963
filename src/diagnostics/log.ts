/**
 * A process's log: the newest lines kept in memory for `logs`, each also handed to a sink (stderr in
 * the command line, nothing in a library). Tokens never go in.
 */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Lines kept; docs: the same as Dask's admin.log-length. */
const KEPT_LINES = 10_000;

export class Log {
  private lines: string[] = [];
  private readonly sink: ((line: string) => void) | null;
  private readonly source: string;

  /** `source` names the process: `scheduler`, `worker local-7f3a-0`. */
  constructor(source: string, sink: ((line: string) => void) | null = null) {
    this.source = source;
    this.sink = sink;
  }

  info(text: string): void {
    this.add('info', text);
  }
  warn(text: string): void {
    this.add('warn', text);
  }
  error(text: string): void {
    this.add('error', text);
  }

  add(level: LogLevel, text: string): void {
    const line = `${new Date().toISOString()} ${this.source} ${level}: ${text}`;
    this.lines.push(line);
    if (this.lines.length > 2 * KEPT_LINES) this.lines = this.lines.slice(-KEPT_LINES);
    this.sink?.(line);
  }

  /** The newest `count` lines, oldest first. */
  tail(count = KEPT_LINES): string[] {
    return this.lines.slice(-Math.min(count, KEPT_LINES));
  }
}
