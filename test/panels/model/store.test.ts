import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { packStream } from '../../../src/panels/model/columns.ts';
import { FeedStore } from '../../../src/panels/model/store.ts';
import { decode, encode } from '../../../src/protocol/codec.ts';
import { STREAM_KINDS } from '../../../src/protocol/feed.ts';
import type { FeedMessage } from '../../../src/protocol/feed.ts';
import { PROTOCOL_VERSION } from '../../../src/protocol/limits.ts';
import { blockOf, deltaOf, progressOf, snapshot, vitalsOf, workerOf } from '../feed-events.ts';
import type { BarEvent, FeedEvent } from '../feed-events.ts';

const CAPACITY = 40;

/** Everything a panel could show of a store. */
function stateOf(store: FeedStore): unknown {
  const lanes = store.stream.lanes.map((lane, id) => ({
    worker: lane.worker,
    lane: lane.lane,
    bars: [...store.stream.slotsIn(id, -Infinity, Infinity)].map(slot => store.stream.bar(slot))
  }));
  return {
    lanes,
    count: store.stream.count,
    total: store.stream.total,
    last: store.stream.last,
    overview: [store.overview.origin, store.overview.width, ...store.overview.bins],
    progress: store.progress.rows(),
    workers: store.workers.rows({ gone: true }),
    functions: store.functions,
    status: store.status
  };
}

const bar: fc.Arbitrary<BarEvent> = fc.record({
  worker: fc.integer({ min: 1, max: 3 }),
  lane: fc.integer({ min: 0, max: 1 }),
  fn: fc.integer({ min: 0, max: 4 }),
  kind: fc.constantFrom(...STREAM_KINDS),
  start: fc.integer({ min: 0, max: 100_000 }),
  duration: fc.integer({ min: 0, max: 5000 })
});
const count = fc.nat(50);
const event: fc.Arbitrary<FeedEvent> = fc.oneof(
  { weight: 6, arbitrary: bar.map(one => ({ type: 'bar' as const, bar: one })) },
  fc.string().map(name => ({ type: 'function' as const, name })),
  fc
    .tuple(fc.integer({ min: 0, max: 4 }), fc.tuple(count, count, count, count, count, count))
    .map(([fn, counts]) => ({ type: 'progress' as const, fn, counts }))
);
/** Ticks of one time each; a tick is split into any number of deltas of that time. */
const ticks = fc.array(
  fc.record({
    events: fc.array(event, { maxLength: 20 }),
    vitals: fc.array(fc.record({ worker: fc.integer({ min: 1, max: 3 }), cpu: count, rss: count })),
    cuts: fc.array(fc.nat(20), { maxLength: 4 })
  }),
  { maxLength: 8 }
);

function started(): FeedStore {
  const store = new FeedStore(CAPACITY);
  store.apply(snapshot({ workers: [workerOf(1), workerOf(2), workerOf(3)] }));
  return store;
}

function pieces<T>(items: readonly T[], cuts: readonly number[]): T[][] {
  const edges = [0, ...[...cuts].sort((a, b) => a - b), items.length];
  return edges.slice(1).map((end, i) => items.slice(edges[i], end));
}

describe('the feed store', () => {
  it('has the same state however the same events are split into deltas', () => {
    fc.assert(
      fc.property(ticks, run => {
        const whole = started();
        const split = started();
        let wholeSeq = 0;
        let splitSeq = 0;
        run.forEach((tick, i) => {
          const now = 1000 + i * 100;
          const vitals = tick.vitals.map(row => ({ type: 'vitals' as const, ...row }));
          whole.apply(deltaOf(++wholeSeq, now, [...tick.events, ...vitals]));
          const parts: FeedEvent[][] = pieces(tick.events, tick.cuts);
          for (const part of [...parts, vitals]) split.apply(deltaOf(++splitSeq, now, part));
        });
        expect(stateOf(split)).toEqual(stateOf(whole));
      })
    );
  });

  it('shows after a resync what it would show without the loss', () => {
    fc.assert(
      fc.property(fc.array(bar, { maxLength: 60 }), fc.nat(60), (bars, cut) => {
        const [before, after] = [bars.slice(0, cut), bars.slice(cut)];
        const fed = started();
        fed.apply(
          deltaOf(
            1,
            2000,
            before.map(one => ({ type: 'bar' as const, bar: one }))
          )
        );
        fed.apply(
          deltaOf(
            2,
            2100,
            after.map(one => ({ type: 'bar' as const, bar: one }))
          )
        );
        const lost = started();
        lost.apply(
          deltaOf(
            1,
            2000,
            before.map(one => ({ type: 'bar' as const, bar: one }))
          )
        );
        expect(lost.apply(deltaOf(3, 2200, []))).toBe('resync');
        const workers = [workerOf(1), workerOf(2), workerOf(3)];
        const stream = packStream(blockOf(bars));
        expect(lost.apply(snapshot({ seq: 2, now: 2100, workers, stream }))).toBe('ok');
        expect(stateOf(lost)).toEqual(stateOf(fed));
        expect(lost.apply(deltaOf(3, 2200, []))).toBe('ok');
      })
    );
  });

  it('leaves the state alone when a delta does not follow or cannot be read', () => {
    const store = started();
    const before = stateOf(store);
    expect(store.apply(deltaOf(2, 2000, [{ type: 'function', name: 'late' }]))).toBe('resync');
    const torn = deltaOf(1, 2000, [{ type: 'function', name: 'torn' }]);
    torn.stream = { ...packStream(blockOf([])), count: 3 };
    expect(store.apply(torn)).toBe('resync');
    expect(store.apply({ op: 'nonsense' } as unknown as FeedMessage)).toBe('resync');
    expect(stateOf(store)).toEqual(before);
  });

  it('reads what comes over the wire, at any offset of the frame', () => {
    const bars: BarEvent[] = [
      { worker: 1, lane: 0, fn: 0, kind: 'compute', start: 1_764_000_000_123.5, duration: 12.5 }
    ];
    const stream = packStream(blockOf(bars));
    const sent = snapshot({ functions: ['odd'], workers: [workerOf(1)], stream });
    const store = new FeedStore();
    expect(store.apply(decode(encode(sent)) as FeedMessage)).toBe('ok');
    expect(store.stream.bar(0)).toEqual({ slot: 0, ...bars[0] });
  });

  it('keeps its last state and the reason when the cluster ends, whatever the socket then does', () => {
    const store = started();
    store.apply({ op: 'end', now: 5000, reason: 'stopped from the sidebar' });
    store.link('lost', 'closed');
    expect(store.status).toBe('ended');
    expect(store.reason).toBe('stopped from the sidebar');
    expect(store.workers.rows()).toHaveLength(3);
    expect(store.apply(deltaOf(1, 6000, []))).toBe('resync');
  });

  it('refuses a scheduler of another protocol and says what to do', () => {
    const store = new FeedStore();
    expect(store.apply(snapshot({ protocol: PROTOCOL_VERSION + 1 }))).toBe('refused');
    expect(store.status).toBe('refused');
    expect(store.reason).toContain('Reload the page');
  });

  it('keeps the curves of workers over a resync and a minute of them at most', () => {
    const store = started();
    for (let second = 0; second < 200; second++) {
      store.apply(
        deltaOf(second + 1, second * 1000, [{ type: 'vitals', worker: 1, cpu: second, rss: 1 }])
      );
    }
    const history = store.workers.get(1)?.history ?? [];
    expect(history.at(-1)).toEqual({ time: 199_000, cpu: 199, rss: 1 });
    expect(history[0]?.time).toBe(139_000);
    const vitals = vitalsOf([{ worker: 1, cpu: 7, rss: 1 }]);
    store.apply(snapshot({ seq: 500, now: 199_600, workers: [workerOf(1)], vitals }));
    expect(store.workers.get(1)?.history.length).toBeGreaterThan(50);
  });

  it('orders workers by name as people count, whatever the order of their coming', () => {
    const store = new FeedStore();
    store.apply(snapshot({ workers: [workerOf(10), workerOf(2), workerOf(1)] }));
    const names = (): string[] => store.workers.rows().map(row => row.info.name);
    expect(names()).toEqual(['worker-1', 'worker-2', 'worker-10']);
    store.apply(deltaOf(1, 2000, [{ type: 'worker', worker: 3, threads: 1 }]));
    expect(names()).toEqual(['worker-1', 'worker-2', 'worker-3', 'worker-10']);
    expect(store.workers.rank(10)).toBe(3);
  });

  it('remembers why workers went', () => {
    const store = started();
    store.apply(deltaOf(1, 2000, [{ type: 'removed', worker: 2, reason: 'killed by signal 9' }]));
    expect(store.workers.rows().map(row => row.info.worker)).toEqual([1, 3]);
    expect(store.workers.get(2)?.gone).toEqual({ at: 2000, reason: 'killed by signal 9' });
  });

  it('knows by name who went before it looked', () => {
    const store = new FeedStore();
    const departure = { worker: workerOf(7), at: 500, reason: 'killed by signal 9' };
    store.apply(snapshot({ workers: [workerOf(1)], gone: [departure] }));
    expect(store.workerName(7)).toBe('worker-7');
    expect(store.workers.get(7)?.gone).toEqual({ at: 500, reason: 'killed by signal 9' });
    expect(store.workers.rows().map(row => row.info.worker)).toEqual([1]);
  });

  it('counts progress: a row replaces the row before it', () => {
    const store = started();
    store.apply(snapshot({ progress: progressOf([{ fn: 0, counts: [1, 2, 3, 4, 5, 6] }]) }));
    store.apply(deltaOf(1, 2000, [{ type: 'progress', fn: 0, counts: [0, 0, 0, 10, 5, 6] }]));
    const totals = store.progress.totals();
    expect([totals.done, totals.erred, totals.total]).toEqual([16, 5, 21]);
  });
});
