/** What the painter asks of a canvas, heard by a context that writes the calls down. */
import { beforeAll, describe, expect, it } from 'vitest';

import { StreamPainter } from '../../../src/panels/draw/stream.ts';
import type { StreamScene } from '../../../src/panels/draw/stream.ts';
import { Palette } from '../../../src/panels/model/colour.ts';
import { packStream } from '../../../src/panels/model/columns.ts';
import { FeedStore } from '../../../src/panels/model/store.ts';
import type { StreamKind } from '../../../src/protocol/feed.ts';
import { blockOf, snapshot, workerOf } from '../feed-events.ts';
import type { BarEvent } from '../feed-events.ts';

interface Call {
  name: string;
  args: unknown[];
  fill: unknown;
}

/** Takes every drawing call, remembers it with the fill in use. */
function recorder(): { context: CanvasRenderingContext2D; calls: Call[] } {
  const calls: Call[] = [];
  const state: Record<string, unknown> = { fillStyle: '' };
  const context = new Proxy(state, {
    get: (target, name) => {
      if (typeof name === 'string' && name in target) return target[name];
      return (...args: unknown[]) => {
        calls.push({ name: String(name), args, fill: target['fillStyle'] });
        if (name === 'measureText') return { width: 40 };
        if (name === 'createPattern') return 'hatch';
        return undefined;
      };
    },
    set: (target, name, value) => {
      target[String(name)] = value;
      return true;
    }
  });
  return { context: context as unknown as CanvasRenderingContext2D, calls };
}

// Node has no canvas; the scratch canvases of hatches and of the raster record in the same way.
beforeAll(() => {
  Object.assign(globalThis, {
    OffscreenCanvas: class {
      width: number;
      height: number;
      constructor(width: number, height: number) {
        this.width = width;
        this.height = height;
      }
      getContext(): CanvasRenderingContext2D {
        return recorder().context;
      }
    },
    ImageData: class {
      data: Uint8ClampedArray;
      width: number;
      height: number;
      constructor(width: number, height: number) {
        this.width = width;
        this.height = height;
        this.data = new Uint8ClampedArray(width * height * 4);
      }
    }
  });
});

const palette = new Palette();

function sceneOf(bars: BarEvent[], parts: Partial<StreamScene> = {}): StreamScene {
  const store = new FeedStore();
  const functions = ['readPart', 'byRoute'];
  const workers = [workerOf(1), workerOf(2)];
  store.apply(snapshot({ functions, workers, stream: packStream(blockOf(bars)) }));
  const theme = {
    text: '#111',
    muted: '#666',
    grid: '#ddd',
    background: '#fff',
    idle: '#eee',
    accent: '#00f',
    edge: '#000',
    dark: false,
    font: 'sans-serif'
  };
  const size = { width: 660, height: 224, ratio: 1, t0: 0, t1: 1000, origin: 0 };
  return { store, palette, theme, ...size, scroll: 0, highlight: null, hovered: -1, ...parts };
}

const bar = (kind: StreamKind, start: number, duration: number, worker = 1): BarEvent => ({
  worker,
  lane: 0,
  fn: 0,
  kind,
  start,
  duration
});

describe('drawing the task stream', () => {
  it('draws each bar where its time is, in the colour of its function', () => {
    const { context, calls } = recorder();
    const drawn = new StreamPainter().paint(context, sceneOf([bar('compute', 100, 200)]));
    expect(drawn).toMatchObject({ bars: 1, rasterLanes: 0, left: 54 });
    const boxes = calls.filter(
      call => call.name === 'fillRect' && call.fill === palette.cssOf('readPart')
    );
    const scale = (660 - 54) / 1000;
    expect(boxes).toHaveLength(1);
    const [x, , width] = boxes[0]?.args as number[];
    expect(x).toBeCloseTo(54 + 100 * scale);
    expect(width).toBeCloseTo(200 * scale - 1);
    expect(calls.some(call => call.name === 'fillText' && call.args[0] === 'worker-1')).toBe(true);
    expect(calls.some(call => call.name === 'fillText' && call.args[0] === 'readPart')).toBe(true);
    expect(calls.some(call => call.name === 'fillText' && call.args[0] === '+0.2 s')).toBe(true);
  });

  it('tells kinds apart by more than colour: hatches, a frame, a cross', () => {
    const kinds = recorder();
    new StreamPainter().paint(
      kinds.context,
      sceneOf([bar('transfer', 0, 100), bar('disk', 200, 100), bar('erred', 400, 100)])
    );
    const hatched = kinds.calls.filter(call => call.name === 'fillRect' && call.fill === 'hatch');
    expect(hatched).toHaveLength(2);
    expect(kinds.calls.filter(call => call.name === 'strokeRect')).toHaveLength(2);
    expect(kinds.calls.filter(call => call.name === 'lineTo')).toHaveLength(2);
  });

  it('draws nothing outside the view', () => {
    const { context, calls } = recorder();
    const scene = sceneOf([bar('compute', 2000, 100), bar('compute', 500, 10, 2)]);
    const drawn = new StreamPainter().paint(context, scene);
    expect(drawn.bars).toBe(1);
    const boxes = calls.filter(
      call => call.name === 'fillRect' && call.fill === palette.cssOf('readPart')
    );
    expect(boxes).toHaveLength(1);
  });

  it('sends dense lanes through the raster: calls do not grow with the bars', () => {
    const many = Array.from({ length: 20_000 }, (_, i) => bar('compute', i / 20, 0.04));
    const { context, calls } = recorder();
    const drawn = new StreamPainter().paint(context, sceneOf(many));
    expect(drawn).toMatchObject({ bars: 20_000, rasterLanes: 1 });
    expect(calls.filter(call => call.name === 'drawImage')).toHaveLength(1);
    expect(calls.length).toBeLessThan(100);
  });

  it('keeps lanes of workers that went as long as their bars are in sight', () => {
    const scene = sceneOf([bar('compute', 100, 100), bar('compute', 100, 100, 2)]);
    const painter = new StreamPainter();
    scene.store.apply({ op: 'delta', seq: 1, now: 1, removed: [{ worker: 2, reason: 'gone' }] });
    expect(painter.paint(recorder().context, scene).layout.lanes).toHaveLength(2);
    const later = { ...scene, t0: 5000, t1: 6000 };
    expect(painter.paint(recorder().context, later).layout.lanes).toHaveLength(1);
  });
});
