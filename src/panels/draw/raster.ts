/**
 * Dense lanes as pixels: each lane is folded into one row of an image, and the rows are stretched
 * to the lanes' heights. The cost of a frame depends on the width of the view and on how many bars
 * are in it, but no longer on drawing calls: 100,000 bars cost a few milliseconds without a GPU.
 */
import { STREAM_KINDS } from '../../protocol/feed.ts';
import { DISK_COLOUR, ERRED_COLOUR, TRANSFER_COLOUR } from '../model/colour.ts';
import { pixelRow } from '../model/stream.ts';
import type { PixelRow, StreamStore } from '../model/stream.ts';

/** 0xRRGGBB of a bar: by its function, except for what is not computing. */
export function barColour(kind: number, fn: number, colours: readonly number[]): number {
  switch (STREAM_KINDS[kind]) {
    case 'transfer':
      return TRANSFER_COLOUR;
    case 'disk':
    case 'deserialize':
      return DISK_COLOUR;
    case 'erred':
      return ERRED_COLOUR;
    default:
      return colours[fn] ?? DISK_COLOUR;
  }
}

export interface RasterInput {
  stream: StreamStore;
  lanes: readonly number[];
  t0: number;
  msPerPixel: number;
  width: number;
  colours: readonly number[];
  /** Only this function keeps its colour; null = all. */
  highlight: number | null;
}

/** Folds lanes into rows of pixels; keeps its memory between frames. */
export class Raster {
  #row: PixelRow = pixelRow(0);
  #image: ImageData | null = null;

  /** One row of RGBA a lane. The image is this object's own and is overwritten by the next call. */
  render(input: RasterInput): ImageData {
    const { width, lanes, stream } = input;
    if (this.#row.owner.length < width) this.#row = pixelRow(width);
    let image = this.#image;
    if (image === null || image.width !== width || image.height !== lanes.length) {
      image = new ImageData(width, lanes.length);
      this.#image = image;
    }
    const pixels = new Uint32Array(image.data.buffer);
    lanes.forEach((laneId, line) => {
      stream.merge(laneId, input.t0, input.msPerPixel, width, this.#row);
      this.#paint(pixels.subarray(line * width, (line + 1) * width), input);
    });
    return image;
  }

  #paint(pixels: Uint32Array, input: RasterInput): void {
    const { owner, cover } = this.#row;
    const { stream, colours, highlight } = input;
    for (let x = 0; x < pixels.length; x++) {
      const own = owner[x] as number;
      if (own === 0) {
        pixels[x] = 0;
        continue;
      }
      const fn = stream.fn[own - 1] as number;
      const colour = barColour(stream.kind[own - 1] as number, fn, colours);
      // A pixel that is hardly busy is pale, so that a sparse lane does not look full.
      let alpha = 0.3 + 0.7 * (cover[x] as number);
      if (highlight !== null && fn !== highlight) alpha *= 0.15;
      const red = (colour >> 16) & 255;
      const green = (colour >> 8) & 255;
      const blue = colour & 255;
      pixels[x] = ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
  }
}
