/** Timers of one worker: all end with it. */
export class Timers {
  private readonly running = new Set<ReturnType<typeof setTimeout>>();

  /** Once, after `ms`. */
  later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.running.delete(timer);
      act();
    }, ms);
    this.running.add(timer);
  }

  /** Every `ms`, until the end. */
  every(ms: number, act: () => void): void {
    this.running.add(setInterval(act, ms));
  }

  /** Nothing happens any more. */
  clear(): void {
    for (const timer of this.running) clearTimeout(timer);
    this.running.clear();
  }
}
