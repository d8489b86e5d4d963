/** Whether and when a process that must not be missing is started again: back-off and budget. */

/** ms before a restart; the last goes for all further ones. */
const PAUSES = [0, 500, 1000, 2000, 5000];
/** So many ends within so many ms are too many. */
const MOST = 5;
const WITHIN_MS = 120_000;

export class Restarts {
  private readonly ends: number[] = [];

  /** It has ended: ms until it is to be started again, or null when it has too often. */
  after(now: number): number | null {
    while (this.ends.length > 0 && now - (this.ends[0] as number) > WITHIN_MS) this.ends.shift();
    this.ends.push(now);
    if (this.ends.length > MOST) return null;
    return PAUSES[Math.min(this.ends.length, PAUSES.length) - 1] as number;
  }

  /** For people. */
  get budget(): string {
    return `more than ${MOST} times within ${WITHIN_MS / 1000} s`;
  }
}
