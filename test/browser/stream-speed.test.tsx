/**
 * The task stream with 100,000 bars in a real canvas, without a GPU. Prints frames a second;
 * asserts on the work of a frame: the median of the best of several runs, so that a machine that
 * is busy with something else does not fail it.
 */
import { expect, it } from 'vitest';

import { StreamController } from '../../src/panels/draw/controller.ts';
import { Palette } from '../../src/panels/model/colour.ts';
import { emptyStream, packStream } from '../../src/panels/model/columns.ts';
import { FeedStore } from '../../src/panels/model/store.ts';
import { snapshot, workerOf } from '../panels/feed-events.ts';

const BARS = 100_000;
const WORKERS = 16;
/** 30 frames a second. */
const FRAME_MS = 33;

function bigStore(bars: number): FeedStore {
  const block = emptyStream(bars);
  for (let i = 0; i < bars; i++) {
    block.worker[i] = 1 + (i % WORKERS);
    block.lane[i] = Math.floor(i / WORKERS) % 2;
    block.fn[i] = i % 7;
    block.kind[i] = i % 50 === 0 ? 1 : i % 997 === 0 ? 4 : 0;
    block.start[i] = Math.floor(i / (WORKERS * 2)) * 20;
    block.duration[i] = 15 + (i % 5);
  }
  const store = new FeedStore();
  store.apply(
    snapshot({
      functions: ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
      workers: Array.from({ length: WORKERS }, (_, i) => workerOf(i + 1, 2)),
      stream: packStream(block)
    })
  );
  return store;
}

const median = (values: number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Infinity;

const frame = (): Promise<number> => new Promise(resolve => requestAnimationFrame(resolve));

it('draws 100,000 bars at 30 frames a second or better', async () => {
  const canvas = document.createElement('canvas');
  canvas.style.cssText = 'width:1200px;height:600px;display:block';
  document.body.append(canvas);
  const controller = new StreamController(canvas, bigStore(BARS), new Palette());
  controller.setView({ ...controller.view, mode: 'fit' });
  controller.draw();
  expect(controller.lastDrawn?.bars).toBe(BARS);
  const medians: number[] = [];
  let best = 0;
  for (let run = 0; run < 5; run++) {
    const work: number[] = [];
    const began = performance.now();
    for (let i = 0; i < 30; i++) {
      // Every frame shows another time, as while a user pans over all bars.
      const { view } = controller;
      controller.setView({ ...view, mode: 'fixed', t0: view.t0 + 1, t1: view.t1 + 1 });
      controller.draw();
      work.push(controller.lastDrawMs);
      // Forces the canvas to be rasterised, which drawing calls only queue.
      canvas.getContext('2d')?.getImageData(0, 0, 1, 1);
      await frame();
    }
    best = Math.max(best, 30_000 / (performance.now() - began));
    medians.push(median(work));
  }
  const fastest = Math.min(...medians);
  console.log(
    `task stream, ${BARS} bars: ${best.toFixed(0)} frames/s, ${fastest.toFixed(2)} ms a drawing`
  );
  expect(fastest).toBeLessThan(FRAME_MS);
  controller.close();
  canvas.remove();
});

it('draws a million bars too', async () => {
  const canvas = document.createElement('canvas');
  canvas.style.cssText = 'width:1200px;height:600px;display:block';
  document.body.append(canvas);
  const controller = new StreamController(canvas, bigStore(1_000_000), new Palette());
  controller.setView({ ...controller.view, mode: 'fit' });
  const work: number[] = [];
  for (let i = 0; i < 10; i++) {
    controller.draw();
    work.push(controller.lastDrawMs);
    await frame();
  }
  console.log(`task stream, 1,000,000 bars: ${Math.min(...work).toFixed(2)} ms a drawing`);
  expect(controller.lastDrawn?.bars).toBe(1_000_000);
  controller.close();
  canvas.remove();
});
