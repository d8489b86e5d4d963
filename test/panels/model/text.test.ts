import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { hashName, Palette, RAMP, toCss } from '../../../src/panels/model/colour.ts';
import {
  formatAge,
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRatePair,
  formatSeconds
} from '../../../src/panels/model/format.ts';
import { OVERVIEW_BINS, Overview } from '../../../src/panels/model/overview.ts';
import { FeedStore } from '../../../src/panels/model/store.ts';
import {
  countsOf,
  summariseProgress,
  summariseStream,
  summariseWorkers
} from '../../../src/panels/model/summary.ts';
import { packStream } from '../../../src/panels/model/columns.ts';
import { blockOf, progressOf, snapshot, vitalsOf, workerOf } from '../feed-events.ts';

describe('numbers as text', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [1024 ** 2 - 1, '1 MiB'],
    [2.6 * 1024 ** 3, '2.6 GiB'],
    [-1, '–']
  ])('bytes %d', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it.each([
    [0, '0 s'],
    [0.0123, '12.3 µs'],
    [12.34, '12.3 ms'],
    [999.7, '1 s'],
    [3210, '3.21 s'],
    [59_990, '1 min 00 s'],
    [250_000, '4 min 10 s'],
    [7_500_000, '2 h 05 min'],
    [-1500, '-1.5 s']
  ])('duration %d ms', (ms, text) => expect(formatDuration(ms)).toBe(text));

  it('says ages, counts, shares, rates and seconds', () => {
    expect(formatAge(59_000)).toBe('59 s');
    expect(formatAge(200_000)).toBe('3 min');
    expect(formatCount(1234567)).toBe('1\u202f234\u202f567');
    expect(formatPercent(1, 1000)).toBe('<1 %');
    expect(formatPercent(999, 1000)).toBe('99 %');
    expect(formatPercent(3, 3)).toBe('100 %');
    expect(formatRatePair(41e6, 3.8e6)).toBe('41 ⇄ 3.8 MB/s');
    expect(formatSeconds(11.44)).toBe('11.4 s');
    expect(formatSeconds(125)).toBe('2 min 05 s');
  });

  it('never shows four digits before a unit of bytes', () => {
    fc.assert(
      fc.property(fc.double({ min: 1024, max: 2 ** 50, noNaN: true }), bytes => {
        expect(formatBytes(bytes)).toMatch(/^\d{1,4}(\.\d{1,2})? [KMGTP]iB$/);
        expect(Number.parseFloat(formatBytes(bytes))).toBeLessThan(1024);
      })
    );
  });
});

describe('colours of functions', () => {
  it('are stable: the same name has the same colour in a fresh palette', () => {
    fc.assert(
      fc.property(fc.string(), name => {
        expect(new Palette().colourOf(name)).toBe(new Palette().colourOf(name));
      })
    );
    expect(hashName('byRoute')).toBe(hashName('byRoute'));
  });

  it('differ while the ramp has room, and never are those of failure or transfer', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string(), { maxLength: RAMP.length }), names => {
        const palette = new Palette();
        const colours = names.map(name => palette.cssOf(name));
        expect(new Set(colours).size).toBe(names.length);
        expect(colours).not.toContain('#000000');
        expect(colours).not.toContain('#d55e00');
      })
    );
    expect(toCss(0x0072b2)).toBe('#0072b2');
  });
});

describe('the overview of a run', () => {
  it('keeps all busy time however often it folds', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(1_000_000), fc.nat(2000)), { minLength: 1 }), spans => {
        const [first] = spans;
        const origin = first?.[0] ?? 0;
        const overview = new Overview();
        const later = spans.map(([start, duration]) => ({
          worker: 1,
          lane: 0,
          fn: 0,
          kind: 'compute' as const,
          start: origin + start,
          duration
        }));
        later[0] = { ...later[0]!, start: origin };
        overview.append(blockOf(later));
        const busy = later.reduce((sum, bar) => sum + bar.duration, 0);
        const kept = overview.bins.reduce((sum, bin) => sum + bin, 0);
        expect(kept).toBeCloseTo(busy, 3);
        expect(overview.bins).toHaveLength(OVERVIEW_BINS);
      })
    );
  });
});

describe('summaries', () => {
  const store = new FeedStore();
  store.apply(
    snapshot({
      functions: ['readPart', 'byRoute'],
      workers: [workerOf(1, 2), workerOf(2, 2)],
      vitals: vitalsOf([
        { worker: 1, cpu: 100, rss: 0.9 * 1024 ** 3 },
        { worker: 2, cpu: 100, rss: 0.1 * 1024 ** 3 }
      ]),
      progress: progressOf([{ fn: 0, counts: [1, 2, 3, 100, 9, 32] }]),
      stream: packStream(
        blockOf([
          { worker: 1, lane: 0, fn: 0, kind: 'compute', start: 0, duration: 300 },
          { worker: 1, lane: 0, fn: 0, kind: 'transfer', start: 300, duration: 100 },
          { worker: 2, lane: 0, fn: 1, kind: 'erred', start: 0, duration: 100 }
        ])
      )
    })
  );

  it('say what a look would tell', () => {
    expect(summariseStream(store, 0, 1000)).toBe(
      'Task stream of 1 s: 3 bars. readPart 1 times, 300 ms; byRoute 1 times, 100 ms. ' +
        'transfers 20 % of the time. 1 erred.'
    );
    expect(summariseStream(store, 5000, 6000)).toBe('Task stream: nothing ran in these 1 s.');
    expect(summariseProgress(store)).toBe(
      'Progress: 132 of 147 tasks done, 3 processing, 3 waiting, 9 failed.'
    );
    expect(summariseWorkers(store)).toBe(
      'Workers: 2 with 4 threads, 50 % busy, 1 GiB of 2 GiB memory, over 80 % memory: worker-1.'
    );
  });

  it('count a row of progress', () => {
    const row = { name: 'f', total: 240, done: 132, erred: 9, cancelled: 0, processing: 4 };
    expect(countsOf(row)).toBe('132 / 240 · 9 failed');
    expect(countsOf({ ...row, done: 0, erred: 0, processing: 0, total: 1 })).toBe('0 / 1 · waits');
  });
});
