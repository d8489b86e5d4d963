import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FairServer, Share, compareShares } from '../../src/base/fair.ts';

/** Serves the parties in turn, `slots` at a time, until `total` has been served. */
class Queue {
  readonly server = new FairServer();
  readonly served = new Map<Share, number>();
  readonly running: { share: Share; expected: number; cost: number }[] = [];
  readonly slots: number;

  constructor(slots: number) {
    this.slots = slots;
  }

  fill(waiting: readonly { share: Share; expected: number; cost: number }[]): void {
    while (this.running.length < this.slots) {
      const [next] = waiting
        .filter(({ share }) => share.waiting > 0)
        .sort((a, b) => compareShares(a.share, b.share));
      if (next === undefined) return;
      this.server.leave(next.share);
      this.server.begin(next.share, next.expected);
      this.running.push({ ...next });
    }
  }

  endOne(at: number): void {
    const [item] = this.running.splice(at % this.running.length, 1);
    if (item === undefined) return;
    item.share.end(item.expected, item.cost);
    this.served.set(item.share, (this.served.get(item.share) ?? 0) + item.cost);
  }
}

describe('fair shares', () => {
  it('give every party that has work its part, whatever was expected of its items', () => {
    const party = fc.record({
      weight: fc.integer({ min: 1, max: 8 }),
      expected: fc.integer({ min: 1, max: 500 }),
      cost: fc.integer({ min: 1, max: 500 })
    });
    const parties = fc.array(party, { minLength: 2, maxLength: 5 });
    const ends = fc.array(fc.nat(), { minLength: 50, maxLength: 400 });
    fc.assert(
      fc.property(parties, fc.integer({ min: 1, max: 4 }), ends, (list, slots, picks) => {
        const queue = new Queue(slots);
        const all = list.map(({ weight, ...more }, i) => ({
          share: new Share(i, weight),
          ...more
        }));
        for (const { share } of all) for (let i = 0; i < 1000; i++) queue.server.enter(share);
        // Nobody is further ahead than the items that it can have begun at the same clock.
        const most = (one: (typeof all)[number]): number =>
          (slots * Math.max(one.expected, one.cost)) / one.share.weight;
        const bound = 2 * Math.max(...all.map(most));
        for (const pick of picks) {
          queue.fill(all);
          queue.endOne(pick);
          const parts = all.map(({ share }) => (queue.served.get(share) ?? 0) / share.weight);
          expect(Math.max(...parts) - Math.min(...parts)).toBeLessThanOrEqual(bound);
        }
      }),
      { seed: 7, numRuns: 300 }
    );
  });

  it('do not save up credit for who was idle, nor hold against anybody what it had alone', () => {
    const queue = new Queue(1);
    const [a, b] = [new Share(1), new Share(2)];
    const items = [a, b].map(share => ({ share, expected: 10, cost: 10 }));
    for (let i = 0; i < 1000; i++) queue.server.enter(a);
    for (let i = 0; i < 500; i++) {
      queue.fill(items);
      queue.endOne(0);
    }
    for (let i = 0; i < 100; i++) queue.server.enter(b);
    const before = queue.served.get(a) ?? 0;
    for (let i = 0; i < 100; i++) {
      queue.fill(items);
      queue.endOne(0);
    }
    expect(queue.served.get(b)).toBeGreaterThanOrEqual(490);
    expect((queue.served.get(a) ?? 0) - before).toBeGreaterThanOrEqual(490);
  });
});
