import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { ticks } from '../../../src/panels/draw/axis.ts';
import { sparkline } from '../../../src/panels/draw/sparkline.ts';
import {
  byKey,
  follow,
  liveViewport,
  pan,
  showTime,
  SPAN_MIN,
  zoom
} from '../../../src/panels/draw/viewport.ts';
import type { Viewport } from '../../../src/panels/draw/viewport.ts';

const epoch = 1_764_000_000_000;
const view: Viewport = { mode: 'fixed', t0: epoch, t1: epoch + 1000, liveSpan: 30_000 };

describe('the view of the task stream', () => {
  it('is never moved by new data once the user has set it', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.nat(1e6), (first, span) => {
        expect(follow(view, { first: epoch + first, last: epoch + first + span })).toBe(view);
      })
    );
  });

  it('follows the newest bar when live and shows all when fitted', () => {
    const extent = { first: epoch, last: epoch + 100_000 };
    const live = follow(liveViewport(), extent);
    expect(live.t1).toBeGreaterThan(extent.last);
    expect(live.t1 - live.t0).toBeCloseTo(30_000 * 1.02, -2);
    const fit = follow({ ...view, mode: 'fit' }, extent);
    expect(fit.t0).toBeLessThan(extent.first);
    expect(fit.t1).toBeGreaterThan(extent.last);
  });

  it('shows a short run whole', () => {
    const live = follow(liveViewport(), { first: epoch, last: epoch + 4000 });
    expect(live.t0).toBeLessThan(epoch);
    expect(live.t1 - live.t0).toBeLessThan(4200);
  });

  it('keeps the time under the pointer in place while zooming', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.1, max: 10, noNaN: true }),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        (factor, share) => {
          const before = view.t0 + (view.t1 - view.t0) * share;
          const zoomed = zoom(view, factor, share);
          const after = zoomed.t0 + (zoomed.t1 - zoomed.t0) * share;
          expect(after).toBeCloseTo(before, 1);
          expect(zoomed.mode).toBe('fixed');
        }
      )
    );
  });

  it('stops zooming where doubles of the epoch stop telling times apart', () => {
    let narrow = view;
    for (let i = 0; i < 100; i++) narrow = zoom(narrow, 0.5, 0.5);
    expect(narrow.t1 - narrow.t0).toBeGreaterThanOrEqual(SPAN_MIN * 0.98);
  });

  it('pans, jumps and answers the keys', () => {
    expect(pan(view, 0.5)).toMatchObject({ mode: 'fixed', t0: epoch + 500, t1: epoch + 1500 });
    expect(showTime(view, epoch + 300, epoch + 100).t1).toBe(epoch + 300);
    expect(byKey(view, 'f')?.mode).toBe('fit');
    expect(byKey(view, 'l')?.mode).toBe('live');
    expect(byKey(view, 'd')).toEqual(byKey(view, 'ArrowRight'));
    expect(byKey(view, 'q')).toBeNull();
    // Zooming a live view by key goes on following.
    expect(byKey({ ...view, mode: 'live' }, 'w')?.mode).toBe('live');
  });
});

describe('the axis', () => {
  it('has round ticks inside the view, not more than asked for', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.06, max: 1e8, noNaN: true }), fc.nat(1e6), (span, from) => {
        const t0 = epoch + from;
        const found = ticks(t0, t0 + span, epoch, 8);
        expect(found.length).toBeLessThanOrEqual(10);
        for (const tick of found) {
          expect(tick.time).toBeGreaterThanOrEqual(t0 - 0.01);
          expect(tick.time).toBeLessThanOrEqual(t0 + span + 0.01);
        }
      })
    );
  });

  it('counts from the start of the run', () => {
    const labels = ticks(epoch, epoch + 12_000, epoch, 6).map(tick => tick.label);
    expect(labels).toEqual(['+0 s', '+2 s', '+4 s', '+6 s', '+8 s', '+10 s', '+12 s']);
    expect(ticks(epoch, epoch + 1, epoch, 4).map(tick => tick.label)[1]).toBe('+0.5 ms');
    expect(ticks(epoch + 1000, epoch + 1400, epoch, 4).map(tick => tick.label)).toContain('+1.2 s');
  });
});

describe('small curves', () => {
  it('stay inside their box', () => {
    const size = { width: 100, height: 20, t0: 0, t1: 60, top: 100 };
    const path = sparkline(
      [
        { time: 0, value: 0 },
        { time: 30, value: 500 },
        { time: 60, value: 50 }
      ],
      size
    );
    expect(path).toBe('M0.0 19.0L50.0 1.0L100.0 10.0');
    expect(sparkline([{ time: 1, value: 1 }], size)).toBe('');
  });
});
