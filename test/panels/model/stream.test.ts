import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { pixelRow, StreamStore } from '../../../src/panels/model/stream.ts';
import { blockOf } from '../feed-events.ts';
import type { BarEvent } from '../feed-events.ts';

const bars = fc.array(
  fc.record({
    worker: fc.integer({ min: 1, max: 2 }),
    lane: fc.constant(0),
    fn: fc.nat(3),
    kind: fc.constantFrom('compute' as const, 'erred' as const),
    start: fc.integer({ min: 0, max: 1000 }),
    duration: fc.integer({ min: 0, max: 300 })
  }),
  { maxLength: 120 }
);

const held = (store: StreamStore, laneId: number, t0: number, t1: number): number[] =>
  [...store.slotsIn(laneId, t0, t1)].map(slot => store.bar(slot).start);

describe('the ring of the task stream', () => {
  it('holds exactly the newest bars, each in its lane by start', () => {
    fc.assert(
      fc.property(bars, fc.integer({ min: 1, max: 50 }), (all, capacity) => {
        const store = new StreamStore(capacity);
        store.append(blockOf(all));
        const newest = all.slice(-capacity);
        expect(store.count).toBe(newest.length);
        expect(store.total).toBe(all.length);
        store.lanes.forEach((lane, id) => {
          const wanted = newest
            .filter(bar => bar.worker === lane.worker)
            .map(bar => bar.start)
            .sort((a, b) => a - b);
          expect(held(store, id, -Infinity, Infinity)).toEqual(wanted);
        });
      })
    );
  });

  it('finds every bar that touches a time range', () => {
    fc.assert(
      fc.property(bars, fc.nat(1000), fc.nat(300), (all, t0, span) => {
        const store = new StreamStore(60);
        store.append(blockOf(all));
        store.lanes.forEach((lane, id) => {
          const touching = all
            .slice(-60)
            .filter(bar => bar.worker === lane.worker)
            .filter(bar => bar.start <= t0 + span && bar.start + bar.duration >= t0);
          const found = held(store, id, t0, t0 + span);
          for (const bar of touching) expect(found).toContain(bar.start);
        });
      })
    );
  });

  it('grows to its capacity and then forgets the oldest', () => {
    const store = new StreamStore(10_000);
    const one = (i: number): BarEvent => ({
      worker: i % 4,
      lane: 0,
      fn: 0,
      kind: 'compute',
      start: i * 10,
      duration: 9
    });
    for (let i = 0; i < 25_000; i += 500) {
      store.append(blockOf(Array.from({ length: 500 }, (_, k) => one(i + k))));
    }
    expect(store.count).toBe(10_000);
    expect(store.first).toBe(150_000);
    expect(store.last).toBe(249_999);
    expect(store.hit(0, 150_005, 0)).toMatchObject({ start: 150_000 });
    expect(store.hit(0, 5, 0)).toBeNull();
  });

  it('hits the bar under the pointer, the nearer one in a gap, none far away', () => {
    const store = new StreamStore();
    const bar = (start: number, duration: number): BarEvent => ({
      worker: 1,
      lane: 0,
      fn: 0,
      kind: 'compute',
      start,
      duration
    });
    store.append(blockOf([bar(0, 100), bar(120, 50), bar(130, 10)]));
    expect(store.hit(0, 50, 0)?.start).toBe(0);
    expect(store.hit(0, 118, 5)?.start).toBe(120);
    expect(store.hit(0, 135, 0)?.start).toBe(130);
    expect(store.hit(0, 110, 2)).toBeNull();
    expect(store.hit(7, 50, 0)).toBeNull();
  });
});

describe('folding bars into pixels', () => {
  it('gives each pixel to the bar that covers most of it and adds up the cover', () => {
    const store = new StreamStore();
    store.append(
      blockOf([
        { worker: 1, lane: 0, fn: 1, kind: 'compute', start: 0, duration: 4 },
        { worker: 1, lane: 0, fn: 2, kind: 'compute', start: 4, duration: 3 },
        { worker: 1, lane: 0, fn: 3, kind: 'compute', start: 20, duration: 20 }
      ])
    );
    const row = pixelRow(5);
    expect(store.merge(0, 0, 10, 5, row)).toBe(3);
    const owner = [...row.owner].map(slot => (slot === 0 ? null : store.fn[slot - 1]));
    expect(owner).toEqual([1, null, 3, 3, null]);
    expect(row.cover[0]).toBeCloseTo(0.7);
    expect(row.cover[2]).toBe(1);
  });

  it('never hides a failure behind others', () => {
    const store = new StreamStore();
    const many: BarEvent[] = Array.from({ length: 1000 }, (_, i) => ({
      worker: 1,
      lane: 0,
      fn: 1,
      kind: i === 500 ? 'erred' : 'compute',
      start: i,
      duration: i === 500 ? 0.1 : 0.9
    }));
    store.append(blockOf(many));
    const row = pixelRow(4);
    store.merge(0, 0, 250, 4, row);
    const kinds = [...row.owner].map(slot => store.bar(slot - 1).kind);
    expect(kinds).toEqual(['compute', 'compute', 'erred', 'compute']);
  });
});
