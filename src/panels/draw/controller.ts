/**
 * One task stream on the page: joins a canvas, a feed store and the user's hands. Wheel zooms
 * about the pointer (with Shift it scrolls the rows), drag pans, double click fits, keys as in
 * `byKey`. Draws through `Frames`, so at most once a frame and never while hidden.
 */
import type { Palette } from '../model/colour.ts';
import type { FeedStore } from '../model/store.ts';
import type { Bar } from '../model/stream.ts';
import { Frames } from './frames.ts';
import { laneAt } from './lanes.ts';
import { AXIS_HEIGHT, StreamPainter } from './stream.ts';
import type { Drawn } from './stream.ts';
import { onThemeChange, readTheme } from './theme.ts';
import type { Theme } from './theme.ts';
import { byKey, follow, liveViewport, pan, zoom } from './viewport.ts';
import type { Extent, Viewport } from './viewport.ts';

export interface Hover {
  bar: Bar;
  /** Where the pointer is, CSS pixels from the canvas' corner. */
  x: number;
  y: number;
}

export interface StreamCallbacks {
  /** After each drawing. */
  drawn?: (controller: StreamController) => void;
  hover?: (hover: Hover | null) => void;
}

export class StreamController {
  readonly store: FeedStore;
  view: Viewport = liveViewport();
  /** The theme in use; other canvases of the panel share it. */
  theme: Theme;
  /** Milliseconds that the last frame took to draw. */
  lastDrawMs = 0;
  /** What the last frame drew; null before the first. */
  lastDrawn: Drawn | null = null;
  readonly #canvas: HTMLCanvasElement;
  readonly #palette: Palette;
  readonly #callbacks: StreamCallbacks;
  readonly #painter = new StreamPainter();
  readonly #frames: Frames;
  readonly #resize: ResizeObserver;
  readonly #undo: (() => void)[] = [];
  #highlight: number | null = null;
  #hovered = -1;
  #scroll = 0;
  #grab: { x: number; view: Viewport; moved: boolean } | null = null;

  constructor(
    canvas: HTMLCanvasElement,
    store: FeedStore,
    palette: Palette,
    callbacks: StreamCallbacks = {}
  ) {
    this.#canvas = canvas;
    this.store = store;
    this.#palette = palette;
    this.#callbacks = callbacks;
    this.theme = readTheme(canvas);
    this.#frames = new Frames(canvas, () => this.draw());
    this.#resize = new ResizeObserver(() => this.#frames.request());
    this.#resize.observe(canvas);
    this.#listen();
    this.#frames.request();
  }

  /** From the first bar held to the last. */
  get extent(): Extent {
    return { first: this.store.stream.first, last: this.store.stream.last };
  }

  /** Shows another time. */
  setView(view: Viewport): void {
    this.view = view;
    this.#frames.request();
  }

  /** Keeps the colour of one function and pales the others; null = all. */
  setHighlight(fn: number | null): void {
    this.#highlight = fn;
    this.#frames.request();
  }

  close(): void {
    this.#frames.close();
    this.#resize.disconnect();
    for (const undo of this.#undo) undo();
  }

  /** Draws now. */
  draw(): void {
    const context = this.#canvas.getContext('2d', { alpha: false });
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    if (context === null || width < 10 || height < 10) return;
    const began = performance.now();
    const ratio = window.devicePixelRatio;
    const pixelWidth = Math.round(width * ratio);
    const pixelHeight = Math.round(height * ratio);
    if (this.#canvas.width !== pixelWidth || this.#canvas.height !== pixelHeight) {
      this.#canvas.width = pixelWidth;
      this.#canvas.height = pixelHeight;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const extent = this.extent;
    this.view = follow(this.view, extent);
    const { t0, t1 } = this.view;
    const scene = { store: this.store, palette: this.#palette, theme: this.theme };
    const place = { width, height, ratio, t0, t1, scroll: this.#scroll };
    const origin = Number.isNaN(this.store.overview.origin) ? t0 : this.store.overview.origin;
    const marks = { origin, highlight: this.#highlight, hovered: this.#hovered };
    this.lastDrawn = this.#painter.paint(context, { ...scene, ...place, ...marks });
    this.lastDrawMs = performance.now() - began;
    this.#callbacks.drawn?.(this);
  }

  #listen(): void {
    const canvas = this.#canvas;
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      listener: (event: HTMLElementEventMap[K]) => void
    ): void => {
      canvas.addEventListener(type, listener, { passive: false });
      this.#undo.push(() => canvas.removeEventListener(type, listener));
    };
    on('wheel', event => this.#wheel(event));
    on('pointerdown', event => this.#down(event));
    on('pointermove', event => this.#move(event));
    on('pointerup', event => this.#up(event));
    on('pointerleave', () => this.#hover(null));
    on('dblclick', () => this.setView({ ...this.view, mode: 'fit' }));
    on('keydown', event => this.#key(event));
    this.#undo.push(this.store.subscribe(() => this.#frames.request()));
    this.#undo.push(
      onThemeChange(() => {
        this.theme = readTheme(canvas);
        this.#frames.request();
      })
    );
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const view = byKey(this.view, event.key);
    if (view === null) return;
    event.preventDefault();
    // The lab has shortcuts on single letters of its own.
    event.stopPropagation();
    this.setView(view);
  }

  #wheel(event: WheelEvent): void {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    if (event.shiftKey) {
      const room = this.#canvas.clientHeight - AXIS_HEIGHT - 4;
      const most = Math.max(0, (this.lastDrawn?.layout.height ?? 0) - room);
      const step = (event.deltaY || event.deltaX) * lines;
      this.#scroll = Math.min(most, Math.max(0, this.#scroll + step));
      this.#frames.request();
      return;
    }
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.setView(pan(this.view, (event.deltaX * lines) / this.#width()));
      return;
    }
    const factor = Math.exp(Math.max(-100, Math.min(100, event.deltaY * lines)) * 0.004);
    this.setView(zoom(this.view, factor, this.#share(event.offsetX)));
  }

  #down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.#canvas.focus({ preventScroll: true });
    this.#canvas.setPointerCapture(event.pointerId);
    this.#grab = { x: event.offsetX, view: this.view, moved: false };
  }

  #move(event: PointerEvent): void {
    const grab = this.#grab;
    if (grab === null) {
      this.#hover(event);
      return;
    }
    const dx = event.offsetX - grab.x;
    if (!grab.moved && Math.abs(dx) < 3) return;
    grab.moved = true;
    this.#hover(null);
    this.setView(pan(grab.view, -dx / this.#width()));
  }

  #up(event: PointerEvent): void {
    this.#grab = null;
    this.#canvas.releasePointerCapture(event.pointerId);
  }

  #hover(event: PointerEvent | null): void {
    const bar = event === null ? null : this.#barAt(event.offsetX, event.offsetY);
    const slot = bar?.slot ?? -1;
    if (slot !== this.#hovered) {
      this.#hovered = slot;
      this.#frames.request();
    }
    const hover =
      bar === null || event === null ? null : { bar, x: event.offsetX, y: event.offsetY };
    this.#callbacks.hover?.(hover);
  }

  #barAt(x: number, y: number): Bar | null {
    const drawn = this.lastDrawn;
    if (drawn === null || x < drawn.left) return null;
    const lane = laneAt(drawn.layout, y);
    if (lane === null) return null;
    const msPerPixel = (this.view.t1 - this.view.t0) / this.#width();
    const time = this.view.t0 + (x - drawn.left) * msPerPixel;
    return this.store.stream.hit(lane.laneId, time, msPerPixel * 1.5);
  }

  #width(): number {
    return Math.max(1, this.#canvas.clientWidth - (this.lastDrawn?.left ?? 0));
  }

  #share(x: number): number {
    const left = this.lastDrawn?.left ?? 0;
    return Math.min(1, Math.max(0, (x - left) / this.#width()));
  }
}
