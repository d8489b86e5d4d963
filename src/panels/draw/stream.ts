/**
 * Draws the task stream onto a canvas: worker names at the left, a row a lane, an axis below.
 * Lanes with few bars in sight are drawn bar by bar (hatches, labels, crosses); dense lanes go
 * through the raster. Knows nothing of events or of React; the same call draws for the screen and
 * for a test that listens to the calls.
 */
import { STREAM_KINDS } from '../../protocol/feed.ts';
import { toCss } from '../model/colour.ts';
import type { Palette } from '../model/colour.ts';
import type { FeedStore } from '../model/store.ts';
import { ticks } from './axis.ts';
import { layoutLanes } from './lanes.ts';
import type { LaneLayout, PlacedLane } from './lanes.ts';
import { barColour, Raster } from './raster.ts';
import { luminance } from './theme.ts';
import type { Theme } from './theme.ts';

/** Height of the axis below the lanes. */
export const AXIS_HEIGHT = 20;
/** Bars that are drawn one by one in a whole frame; more go through the raster. */
const VECTOR_BARS = 6000;

export interface StreamScene {
  store: FeedStore;
  palette: Palette;
  theme: Theme;
  /** CSS pixels. */
  width: number;
  height: number;
  /** Device pixels a CSS pixel. */
  ratio: number;
  t0: number;
  t1: number;
  /** Time that the axis counts from. */
  origin: number;
  /** Rows scrolled out at the top, CSS pixels. */
  scroll: number;
  highlight: number | null;
  /** Ring slot of the bar under the pointer, or -1. */
  hovered: number;
}

/** What was drawn, for hit tests and for measuring. */
export interface Drawn {
  layout: LaneLayout;
  /** Left edge of the lanes, CSS pixels. */
  left: number;
  bars: number;
  rasterLanes: number;
}

/** Patterns and scratch memory of one canvas. */
export class StreamPainter {
  readonly #raster = new Raster();
  #scratch: OffscreenCanvas | null = null;
  readonly #patterns = new Map<string, CanvasPattern | string>();

  /** Draws one frame. The context must already be scaled to CSS pixels. */
  paint(context: CanvasRenderingContext2D, scene: StreamScene): Drawn {
    const { theme, width, height } = scene;
    context.fillStyle = theme.background;
    context.fillRect(0, 0, width, height);
    const room = Math.max(0, height - AXIS_HEIGHT - 4);
    const layout = layoutLanes(scene.store, scene.t0, scene.t1, 4 - scene.scroll, room);
    const left = gutter(context, scene, layout);
    const drawn: Drawn = { layout, left, bars: 0, rasterLanes: 0 };
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height - AXIS_HEIGHT);
    context.clip();
    this.#lanes(context, scene, drawn);
    context.restore();
    labels(context, scene, layout, left);
    if (scene.store.stream.count > 0) axis(context, scene, left);
    return drawn;
  }

  #lanes(context: CanvasRenderingContext2D, scene: StreamScene, drawn: Drawn): void {
    const { store, t0, t1, theme } = scene;
    const bottom = scene.height - AXIS_HEIGHT;
    const seen = drawn.layout.lanes.filter(lane => lane.y + lane.height > 0 && lane.y < bottom);
    const width = scene.width - drawn.left;
    if (seen.length === 0 || width < 1) return;
    context.fillStyle = theme.idle;
    for (const lane of seen) context.fillRect(drawn.left, lane.y, width, lane.height);
    const most = Math.min(width / 3, VECTOR_BARS / seen.length);
    const dense: PlacedLane[] = [];
    const colours = store.functions.map(name => scene.palette.colourOf(name));
    for (const lane of seen) {
      const count = store.stream.countIn(lane.laneId, t0, t1);
      drawn.bars += count;
      if (count > most) dense.push(lane);
      else if (count > 0) this.#vector(context, scene, lane, drawn.left, colours);
    }
    drawn.rasterLanes = dense.length;
    if (dense.length > 0) this.#dense(context, scene, dense, drawn.left, colours);
  }

  #dense(
    context: CanvasRenderingContext2D,
    scene: StreamScene,
    lanes: readonly PlacedLane[],
    left: number,
    colours: readonly number[]
  ): void {
    const width = Math.max(1, Math.round((scene.width - left) * scene.ratio));
    const image = this.#raster.render({
      stream: scene.store.stream,
      lanes: lanes.map(lane => lane.laneId),
      t0: scene.t0,
      msPerPixel: (scene.t1 - scene.t0) / width,
      width,
      colours,
      highlight: scene.highlight
    });
    const scratch = this.#canvas(width, lanes.length);
    const pen = scratch.getContext('2d');
    if (pen === null) return;
    pen.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    lanes.forEach((lane, line) => {
      context.drawImage(scratch, 0, line, width, 1, left, lane.y, scene.width - left, lane.height);
    });
  }

  #vector(
    context: CanvasRenderingContext2D,
    scene: StreamScene,
    lane: PlacedLane,
    left: number,
    colours: readonly number[]
  ): void {
    const { stream } = scene.store;
    const scale = (scene.width - left) / (scene.t1 - scene.t0);
    for (const slot of stream.slotsIn(lane.laneId, scene.t0, scene.t1)) {
      const start = stream.start[slot] as number;
      const x0 = Math.max(left - 2, left + (start - scene.t0) * scale);
      const end = left + (start + (stream.duration[slot] as number) - scene.t0) * scale;
      const x1 = Math.min(scene.width + 2, end);
      if (x1 < left) continue;
      const kind = stream.kind[slot] as number;
      const fn = stream.fn[slot] as number;
      const dim = scene.highlight !== null && fn !== scene.highlight;
      context.globalAlpha = dim ? 0.15 : 1;
      // A hair of background between neighbours, when they are wide enough to spare it.
      const width = x1 - x0 > 3 ? x1 - x0 - 1 : Math.max(0.75, x1 - x0);
      const box = { x: x0, y: lane.y, width, height: lane.height };
      const colour = barColour(kind, fn, colours);
      this.#bar(context, scene, box, STREAM_KINDS[kind] ?? 'compute', colour);
      if (STREAM_KINDS[kind] === 'compute') barLabel(context, scene, box, fn, colour);
      if (slot === scene.hovered) outline(context, scene, box);
    }
    context.globalAlpha = 1;
  }

  #bar(
    context: CanvasRenderingContext2D,
    scene: StreamScene,
    box: Box,
    kind: string,
    colour: number
  ): void {
    const css = toCss(colour);
    const narrow = box.width < 5;
    if (kind === 'transfer' || kind === 'disk' || kind === 'deserialize') {
      context.fillStyle = narrow ? css : this.#hatch(context, css, kind, scene.theme.background);
      context.fillRect(box.x, box.y, box.width, box.height);
      if (!narrow) {
        context.strokeStyle = css;
        context.lineWidth = 1;
        context.strokeRect(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1);
      }
      return;
    }
    context.fillStyle = css;
    context.fillRect(box.x, box.y, box.width, box.height);
    if (kind !== 'erred') return;
    if (scene.theme.dark && box.width > 2) {
      context.strokeStyle = scene.theme.edge;
      context.lineWidth = 1;
      context.strokeRect(box.x + 0.5, box.y + 0.5, Math.max(0, box.width - 1), box.height - 1);
    }
    if (box.width < 9 || box.height < 9) return;
    const centreX = box.x + box.width / 2;
    const centreY = box.y + box.height / 2;
    context.strokeStyle = '#ffffff';
    context.lineWidth = 1.4;
    context.beginPath();
    context.moveTo(centreX - 2.5, centreY - 2.5);
    context.lineTo(centreX + 2.5, centreY + 2.5);
    context.moveTo(centreX + 2.5, centreY - 2.5);
    context.lineTo(centreX - 2.5, centreY + 2.5);
    context.stroke();
  }

  /** Diagonal lines: `transfer` leans right, disk leans left. */
  #hatch(
    context: CanvasRenderingContext2D,
    colour: string,
    kind: string,
    background: string
  ): CanvasPattern | string {
    const name = `${colour} ${kind} ${background}`;
    let pattern = this.#patterns.get(name);
    if (pattern === undefined) {
      pattern = makeHatch(context, colour, kind === 'transfer', background) ?? colour;
      this.#patterns.set(name, pattern);
    }
    return pattern;
  }

  #canvas(width: number, height: number): OffscreenCanvas {
    const old = this.#scratch;
    if (old !== null && old.width === width && old.height === height) return old;
    this.#scratch = new OffscreenCanvas(width, height);
    return this.#scratch;
  }
}

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

function makeHatch(
  context: CanvasRenderingContext2D,
  colour: string,
  right: boolean,
  background: string
): CanvasPattern | null {
  const tile = new OffscreenCanvas(6, 6);
  const pen = tile.getContext('2d');
  if (pen === null) return null;
  pen.fillStyle = background;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  // Three strokes make the diagonal seamless over the tile's edges.
  for (const shift of [-6, 0, 6]) {
    pen.moveTo(right ? shift - 1 : shift + 7, 7);
    pen.lineTo(right ? shift + 7 : shift - 1, -1);
  }
  pen.stroke();
  return context.createPattern(tile, 'repeat');
}

function outline(context: CanvasRenderingContext2D, scene: StreamScene, box: Box): void {
  context.strokeStyle = scene.theme.text;
  context.lineWidth = 2;
  context.strokeRect(box.x + 1, box.y + 1, Math.max(1, box.width - 2), box.height - 2);
}

function barLabel(
  context: CanvasRenderingContext2D,
  scene: StreamScene,
  box: Box,
  fn: number,
  colour: number
): void {
  if (box.width < 40 || box.height < 13) return;
  const name = scene.store.nameOf(fn);
  context.font = `11px ${scene.theme.font}`;
  // Six pixels a character is near enough to know that it will not fit.
  if (name.length * 6 + 8 > box.width) return;
  context.fillStyle = luminance(toCss(colour)) > 0.5 ? '#000000' : '#ffffff';
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  context.fillText(name, box.x + 4, box.y + box.height / 2 + 0.5);
}

/** Room for the worker names, at most a fifth of the width. */
function gutter(context: CanvasRenderingContext2D, scene: StreamScene, layout: LaneLayout): number {
  context.font = `11px ${scene.theme.font}`;
  let widest = 0;
  for (const label of layout.labels.slice(0, 200)) {
    widest = Math.max(widest, context.measureText(label.text).width);
  }
  return Math.round(Math.min(widest + 14, scene.width / 5, 160));
}

function labels(
  context: CanvasRenderingContext2D,
  scene: StreamScene,
  layout: LaneLayout,
  left: number
): void {
  context.fillStyle = scene.theme.muted;
  context.font = `11px ${scene.theme.font}`;
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  let free = -Infinity;
  const bottom = scene.height - AXIS_HEIGHT;
  for (const label of layout.labels) {
    const y = label.y + label.height / 2;
    if (y < free || y < 4 || y > bottom - 4) continue;
    context.fillText(label.text, 2, y, left - 8);
    free = y + 13;
  }
}

function axis(context: CanvasRenderingContext2D, scene: StreamScene, left: number): void {
  const { theme, t0, t1, height, width } = scene;
  const scale = (width - left) / (t1 - t0);
  context.font = `11px ${theme.font}`;
  context.textBaseline = 'top';
  context.textAlign = 'left';
  for (const tick of ticks(t0, t1, scene.origin, Math.max(2, (width - left) / 90))) {
    const x = Math.round(left + (tick.time - t0) * scale) + 0.5;
    context.fillStyle = theme.grid;
    context.fillRect(x - 0.5, height - AXIS_HEIGHT, 1, 4);
    context.fillStyle = theme.muted;
    if (x + 30 < width) context.fillText(tick.label, x, height - AXIS_HEIGHT + 6);
  }
}
