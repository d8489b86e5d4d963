/**
 * The task stream's memory: a ring of rectangles in typed arrays (21 bytes each) with an index by
 * lane. It grows by doubling up to its capacity, then the oldest rectangle makes room for the
 * newest. Queries never look at rectangles outside the asked time, and `merge` folds any number
 * of them into one row of pixels.
 */
import { STREAM_KINDS } from '../../protocol/feed.ts';
import type { StreamKind } from '../../protocol/feed.ts';
import type { StreamBlock } from './columns.ts';
import { Lane } from './lane.ts';

/** Rectangles a viewer keeps. */
export const STREAM_CAPACITY = 1_000_000;

const ERRED = STREAM_KINDS.indexOf('erred');

/** One rectangle, spelled out. */
export interface Bar {
  slot: number;
  worker: number;
  lane: number;
  fn: number;
  kind: StreamKind;
  start: number;
  duration: number;
}

/** A lane of a view, one entry a pixel. Reuse one instance: it is cleared by `merge`. */
export interface PixelRow {
  /** Ring slot of the rectangle that owns the pixel, plus one; 0 = idle. */
  readonly owner: Uint32Array;
  /** Share of the pixel that is covered by anything, 0-1. */
  readonly cover: Float32Array;
  /** Working space: share that the owner covers. */
  readonly best: Float32Array;
}

/** A row for views of up to `width` pixels. */
export function pixelRow(width: number): PixelRow {
  return {
    owner: new Uint32Array(width),
    cover: new Float32Array(width),
    best: new Float32Array(width)
  };
}

export class StreamStore {
  readonly capacity: number;
  /** Columns by ring slot. */
  start = new Float64Array(4096);
  duration = new Float32Array(4096);
  fn = new Uint32Array(4096);
  kind = new Uint8Array(4096);
  #laneOf = new Uint32Array(4096);
  #count = 0;
  #next = 0;
  #total = 0;
  #last = -Infinity;
  readonly #lanes: Lane[] = [];
  readonly #laneIds = new Map<number, number>();

  constructor(capacity: number = STREAM_CAPACITY) {
    this.capacity = capacity;
  }

  /** Rectangles held now. */
  get count(): number {
    return this.#count;
  }

  /** Rectangles ever added. */
  get total(): number {
    return this.#total;
  }

  /** Latest end of all, ms since the epoch; -Infinity when empty. */
  get last(): number {
    return this.#last;
  }

  /** Start of the oldest rectangle held, or Infinity. A bound, not exact: bars arrive by their end. */
  get first(): number {
    let first = Infinity;
    for (const lane of this.#lanes) {
      if (lane.length > 0) first = Math.min(first, this.start[lane.at(0)] as number);
    }
    return first;
  }

  /** All lanes ever seen, in order of appearance; `laneId` of the rest of this class indexes it. */
  get lanes(): readonly Lane[] {
    return this.#lanes;
  }

  /** Adds rectangles, oldest first. */
  append(block: StreamBlock): void {
    // Rectangles that this very block would push out again need not be stored.
    const skip = Math.max(0, block.count - this.capacity);
    this.#total += skip;
    for (let i = skip; i < block.count; i++) {
      const slot = this.#take();
      const start = block.start[i] as number;
      const duration = block.duration[i] as number;
      this.start[slot] = start;
      this.duration[slot] = duration;
      this.fn[slot] = block.fn[i] as number;
      this.kind[slot] = block.kind[i] as number;
      const id = this.#laneId(block.worker[i] as number, block.lane[i] as number);
      this.#laneOf[slot] = id;
      (this.#lanes[id] as Lane).add(slot, this);
      if (start + duration > this.#last) this.#last = start + duration;
    }
  }

  /** The rectangle in a ring slot. */
  bar(slot: number): Bar {
    const lane = this.#lanes[this.#laneOf[slot] as number] as Lane;
    return {
      slot,
      worker: lane.worker,
      lane: lane.lane,
      fn: this.fn[slot] as number,
      kind: STREAM_KINDS[this.kind[slot] as number] ?? 'compute',
      start: this.start[slot] as number,
      duration: this.duration[slot] as number
    };
  }

  /** The rectangle of a lane at a time, give or take `slack` ms; the shortest of several. */
  hit(laneId: number, time: number, slack: number): Bar | null {
    const lane = this.#lanes[laneId];
    if (lane === undefined) return null;
    const { from, to } = lane.range(time - slack, time + slack, this);
    let found = -1;
    let score = Infinity;
    for (let i = from; i < to; i++) {
      const slot = lane.at(i);
      const start = this.start[slot] as number;
      const end = start + (this.duration[slot] as number);
      if (end < time - slack) continue;
      const away = Math.max(0, start - time, time - end);
      const worth = away * 1e6 + (end - start);
      if (worth < score) {
        score = worth;
        found = slot;
      }
    }
    return found < 0 ? null : this.bar(found);
  }

  /** Folds the rectangles of a lane into `width` pixels from `t0` on. Returns how many it folded. */
  merge(laneId: number, t0: number, msPerPixel: number, width: number, row: PixelRow): number {
    row.owner.fill(0, 0, width);
    row.cover.fill(0, 0, width);
    row.best.fill(0, 0, width);
    const lane = this.#lanes[laneId];
    if (lane === undefined) return 0;
    const { from, to } = lane.range(t0, t0 + width * msPerPixel, this);
    const scale = 1 / msPerPixel;
    for (let i = from; i < to; i++) {
      const slot = lane.at(i);
      const left = ((this.start[slot] as number) - t0) * scale;
      this.#cover(row, slot, left, left + (this.duration[slot] as number) * scale, width);
    }
    return to - from;
  }

  /** Slots of a lane that may touch the time range, by start. */
  *slotsIn(laneId: number, t0: number, t1: number): Generator<number> {
    const lane = this.#lanes[laneId];
    if (lane === undefined) return;
    const { from, to } = lane.range(t0, t1, this);
    for (let i = from; i < to; i++) yield lane.at(i);
  }

  /** How many rectangles of a lane may touch the time range. */
  countIn(laneId: number, t0: number, t1: number): number {
    const lane = this.#lanes[laneId];
    if (lane === undefined) return 0;
    const { from, to } = lane.range(t0, t1, this);
    return to - from;
  }

  #cover(row: PixelRow, slot: number, left: number, right: number, width: number): void {
    const a = Math.max(0, left);
    const b = Math.min(width, right);
    if (right < 0 || left >= width) return;
    const erred = this.kind[slot] === ERRED;
    const first = Math.min(width - 1, Math.floor(a));
    const end = Math.min(width - 1, Math.max(first, Math.ceil(b) - 1));
    for (let x = first; x <= end; x++) {
      const share = Math.max(0, Math.min(x + 1, b) - Math.max(x, a));
      row.cover[x] = Math.min(1, (row.cover[x] as number) + share);
      // A failure among thousands must not vanish: it outweighs all else in its pixel.
      const weight = erred ? 2 + share : share;
      if (row.owner[x] === 0 || weight > (row.best[x] as number)) {
        row.best[x] = weight;
        row.owner[x] = slot + 1;
      }
    }
  }

  #take(): number {
    const slot = this.#next;
    if (this.#count === this.capacity) {
      (this.#lanes[this.#laneOf[slot] as number] as Lane).remove(slot, this);
    } else {
      this.#count += 1;
      if (slot >= this.start.length) this.#grow();
    }
    this.#next = slot + 1 === this.capacity ? 0 : slot + 1;
    this.#total += 1;
    return slot;
  }

  #grow(): void {
    const size = Math.min(this.capacity, this.start.length * 2);
    this.start = widen(this.start, new Float64Array(size));
    this.duration = widen(this.duration, new Float32Array(size));
    this.fn = widen(this.fn, new Uint32Array(size));
    this.kind = widen(this.kind, new Uint8Array(size));
    this.#laneOf = widen(this.#laneOf, new Uint32Array(size));
  }

  #laneId(worker: number, lane: number): number {
    const key = worker * 65_536 + lane;
    let id = this.#laneIds.get(key);
    if (id === undefined) {
      id = this.#lanes.length;
      this.#lanes.push(new Lane(worker, lane));
      this.#laneIds.set(key, id);
    }
    return id;
  }
}

function widen<Column extends { set(from: Column): void }>(old: Column, wide: Column): Column {
  wide.set(old);
  return wide;
}
