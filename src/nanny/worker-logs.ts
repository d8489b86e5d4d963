/**
 * Last lines of workers that have ended: they cannot be asked any more, and what they said last may
 * explain why they ended.
 */
import type { LineRing } from '../config/lines.ts';
import type { ClusterLogs } from '../protocol/launcher.ts';

/** Lines of a worker's log that travel with the news of its end. */
const LAST_LINES = 20;
/** Lines that are kept of each ended worker, and of how many of them. */
const KEPT_LINES = 200;
const KEPT_LOGS = 50;

/** Of the workers of one nanny, by name. */
export class WorkerLogs {
  private readonly ended = new Map<string, string[]>();
  /** Of workers that we end, from before that. */
  private readonly before = new Map<string, string[]>();

  /** The worker is about to be signalled: what it says of that explains nothing. */
  signalled(name: string, output: LineRing): void {
    if (!this.before.has(name)) this.before.set(name, output.last(LAST_LINES));
  }

  /** The worker has ended; the lines that travel with the news of it. */
  keep(name: string, output: LineRing): string[] {
    this.ended.delete(name);
    this.ended.set(name, output.last(KEPT_LINES));
    // A cluster that scales up and down for days must not collect them all.
    const [oldest] = this.ended.keys();
    if (this.ended.size > KEPT_LOGS && oldest !== undefined) this.ended.delete(oldest);
    const lines = this.before.get(name) ?? output.last(LAST_LINES);
    this.before.delete(name);
    return lines;
  }

  /** Of all ended workers that said something. */
  list(): ClusterLogs['logs'] {
    return [...this.ended]
      .filter(([, lines]) => lines.length > 0)
      .map(([name, lines]) => ({ source: `${name}, ended`, lines }));
  }
}
