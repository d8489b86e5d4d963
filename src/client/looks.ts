/**
 * Looks at functions and values on their way out. In Node they are over at once; in a Deno kernel
 * the first look at a function takes a turn, and the task is sent after it.
 */

/** What is still being looked at, and what has been found. */
export class Looks {
  /** The first error of a look that took a turn; one that is over at once throws. */
  failure: unknown = null;
  private readonly waits: Promise<unknown>[] = [];

  /** How to get what a look finds, as `change` makes it, once all are over. */
  at<T, U = T>(
    look: T | Promise<T>,
    change: (value: T) => U = value => value as unknown as U
  ): () => U {
    if (!(look instanceof Promise)) {
      const value = change(look);
      return () => value;
    }
    let found: U | undefined;
    const wait = look.then(value => {
      found = change(value);
    });
    this.waits.push(wait.catch((error: unknown) => (this.failure ??= error)));
    return () => found as U;
  }

  /** Resolves when all are over; null when they are already. */
  ready(): Promise<unknown> | null {
    return this.waits.length === 0 ? null : Promise.all(this.waits);
  }
}
