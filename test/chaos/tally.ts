/** What happened in a chaos run, counted, and what must not have happened, in words. */

/**
 * What a run checks: results are right; all of them came; the cluster came to rest; nothing was
 * left behind; no process met a defect of ours, this one included.
 */
const CHECKS = ['right', 'complete', 'rest', 'left', 'sound'] as const;
export type Check = (typeof CHECKS)[number];

/** Failures that are written out in full. */
const SHOWN = 20;

export class Tally {
  tasks = 0;
  scattered = 0;
  cancelled = 0;
  retried = 0;
  right = 0;
  wrongs = 0;
  losts = 0;
  readonly faults = new Map<string, number>();
  readonly explained = new Map<string, number>();
  private readonly refusals = new Map<string, number>();
  readonly failures: string[] = [];
  private readonly failed = new Set<Check>();
  private readonly start = Date.now();
  private readonly print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.print = print;
  }

  /** One line of the log: seconds since the start, what, details. */
  note(text: string): void {
    const seconds = ((Date.now() - this.start) / 1000).toFixed(1);
    this.print(`${seconds.padStart(7)} ${text}`);
  }

  fault(name: string, details: string): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
    this.note(`fault ${name} ${details}`);
  }

  wrong(id: string, what: string): void {
    this.wrongs++;
    this.fail('right', `WRONG ${id}: ${what}`);
  }

  lose(id: string, what: string): void {
    this.losts++;
    this.fail('complete', `LOST ${id}: ${what}`);
  }

  /** Something that must not have happened, or must not be there any more. */
  fail(check: Check, text: string): void {
    this.failed.add(check);
    this.failures.push(text);
    if (this.failures.length <= SHOWN) this.note(text);
  }

  /** How many of the checks held. */
  counts(): { passed: number; failed: number } {
    return { passed: CHECKS.length - this.failed.size, failed: this.failed.size };
  }

  /** A future ended with an error, for this reason. */
  explain(reason: string): void {
    this.explained.set(reason, (this.explained.get(reason) ?? 0) + 1);
  }

  /** A call was refused because of a fault. */
  refused(why: string): void {
    const short = why.replace(/\d+/g, '#').slice(0, 100);
    this.refusals.set(short, (this.refusals.get(short) ?? 0) + 1);
  }

  summary(skipped: readonly string[]): string[] {
    const list = (counts: ReadonlyMap<string, number>): string =>
      [...counts].map(([name, count]) => `${name} ${count}`).join(', ') || 'none';
    const faults = [...this.faults.values()].reduce((a, b) => a + b, 0);
    const seconds = Math.round((Date.now() - this.start) / 1000);
    return [
      `${seconds} s; faults injected: ${faults} (${list(this.faults)})`,
      `tasks: ${this.tasks}, scattered: ${this.scattered}, cancelled: ${this.cancelled}, retried: ${this.retried}`,
      `results right: ${this.right}, wrong: ${this.wrongs}, lost: ${this.losts}`,
      `errors with a reason: ${list(this.explained)}`,
      ...(this.refusals.size === 0 ? [] : [`calls refused: ${list(this.refusals)}`]),
      ...skipped.map(why => `skipped: ${why}`)
    ];
  }
}
