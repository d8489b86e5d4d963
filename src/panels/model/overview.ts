/**
 * How busy the cluster was over the whole run, for the bar below the task stream: busy
 * milliseconds in at most 512 bins. When the run outgrows them, neighbours are folded and bins
 * are twice as wide: constant memory and constant cost a rectangle, however long the run.
 */
import type { StreamBlock } from './columns.ts';

/** Bins there are. Even, so that they fold in pairs. */
export const OVERVIEW_BINS = 512;

export class Overview {
  readonly bins = new Float64Array(OVERVIEW_BINS);
  /** Start of the first bin, ms since the epoch; NaN while empty. */
  origin = NaN;
  /** Width of a bin in ms. */
  width = 50;

  append(block: StreamBlock): void {
    for (let i = 0; i < block.count; i++) {
      this.#add(block.start[i] as number, block.duration[i] as number);
    }
  }

  /** The highest bin, at least 1. */
  peak(): number {
    let peak = 1;
    for (const value of this.bins) if (value > peak) peak = value;
    return peak;
  }

  #add(start: number, duration: number): void {
    if (Number.isNaN(this.origin)) this.origin = start;
    const from = Math.max(this.origin, start);
    const end = Math.max(from, start + duration);
    while (end - this.origin >= this.width * OVERVIEW_BINS) this.#fold();
    const first = Math.floor((from - this.origin) / this.width);
    const last = Math.floor((end - this.origin) / this.width);
    for (let bin = first; bin <= last; bin++) {
      const left = this.origin + bin * this.width;
      const share = Math.min(end, left + this.width) - Math.max(from, left);
      this.bins[bin] = (this.bins[bin] as number) + Math.max(0, share);
    }
  }

  #fold(): void {
    for (let i = 0; i < OVERVIEW_BINS / 2; i++) {
      this.bins[i] = (this.bins[2 * i] as number) + (this.bins[2 * i + 1] as number);
    }
    this.bins.fill(0, OVERVIEW_BINS / 2);
    this.width *= 2;
  }
}
