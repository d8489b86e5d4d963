/**
 * Fair shares of something that serves one item after the other (start-time fair queuing). Every
 * party has a clock that runs by what it has been served, divided by its weight; the party whose
 * clock is furthest behind is served next. A party that had nothing to be served starts from where
 * the others are: no credit is saved up while idle.
 *
 * Items are charged by what they are expected to cost when they begin, and by what they did cost
 * when they have ended.
 */

/** One party's part in what is shared. */
export class Share {
  readonly id: number;
  weight: number;
  /** What it has been served, by its weight. */
  clock = 0;
  /** Items that wait. */
  waiting = 0;
  /** Part of `clock` that stands for what has begun and not ended. */
  private pending = 0;

  constructor(id: number, weight = 1) {
    this.id = id;
    this.weight = weight;
  }

  /** The clock without what has not ended yet. */
  get settled(): number {
    return this.clock - this.pending;
  }

  begin(cost: number): void {
    this.clock += cost / this.weight;
    this.pending += cost / this.weight;
  }

  /** It was charged `charged` when it began. */
  end(charged: number, cost: number): void {
    this.pending = Math.max(0, this.pending - charged / this.weight);
    this.clock = Math.max(0, this.clock + (cost - charged) / this.weight);
  }
}

/** Negative when a is to be served before b. */
export function compareShares(a: Share, b: Share): number {
  return a.clock === b.clock ? a.id - b.id : a.clock - b.clock;
}

/** What is shared: knows how far the party has come that was served last. */
export class FairServer {
  private last: Share | null = null;

  /** One more item of this party waits. */
  enter(share: Share): void {
    if (share.waiting++ > 0 || this.last === null || this.last === share) return;
    share.clock = Math.max(share.clock, this.last.settled);
  }

  /** An item waits no more. */
  leave(share: Share): void {
    share.waiting--;
  }

  begin(share: Share, cost: number): void {
    this.last = share;
    share.begin(cost);
  }
}
