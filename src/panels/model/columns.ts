/**
 * Reading the feed's binary columns. A column is little-endian numbers in a byte array that may
 * begin at any offset of its frame, so it is copied before it becomes a typed array. A column of
 * the wrong length is refused: a half-read rectangle would be drawn in the wrong lane.
 */
import { ProtocolError } from '../../base/errors.ts';
import type { StreamColumns } from '../../protocol/feed.ts';

/** Rectangles of the task stream as typed arrays of `count` entries. */
export interface StreamBlock {
  count: number;
  worker: Uint32Array;
  lane: Uint16Array;
  fn: Uint32Array;
  kind: Uint8Array;
  start: Float64Array;
  duration: Float32Array;
}

function copied(name: string, bytes: Uint8Array, count: number, width: number): ArrayBuffer {
  if (bytes.byteLength !== count * width) {
    throw new ProtocolError(
      `Column ${name} of the dashboard feed has ${bytes.byteLength} bytes; ${count} rectangles ` +
        `need ${count * width}. Reload the page; if it stays, the scheduler runs another version.`
    );
  }
  const copy = new Uint8Array(count * width);
  copy.set(bytes);
  return copy.buffer;
}

/** Opens the columns of a message. Throws ProtocolError when one does not fit. */
export function openStream(columns: StreamColumns): StreamBlock {
  const { count } = columns;
  return {
    count,
    worker: new Uint32Array(copied('worker', columns.worker, count, 4)),
    lane: new Uint16Array(copied('lane', columns.lane, count, 2)),
    fn: new Uint32Array(copied('fn', columns.fn, count, 4)),
    kind: new Uint8Array(copied('kind', columns.kind, count, 1)),
    start: new Float64Array(copied('start', columns.start, count, 8)),
    duration: new Float32Array(copied('duration', columns.duration, count, 4))
  };
}

const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength).slice();

/** The reverse of `openStream`: for recordings and tests of whoever speaks the feed. */
export function packStream(block: StreamBlock): StreamColumns {
  return {
    count: block.count,
    worker: bytesOf(block.worker),
    lane: bytesOf(block.lane),
    fn: bytesOf(block.fn),
    kind: bytesOf(block.kind),
    start: bytesOf(block.start),
    duration: bytesOf(block.duration)
  };
}

/** A block with room for `count` rectangles, all zero. */
export function emptyStream(count: number): StreamBlock {
  return {
    count,
    worker: new Uint32Array(count),
    lane: new Uint16Array(count),
    fn: new Uint32Array(count),
    kind: new Uint8Array(count),
    start: new Float64Array(count),
    duration: new Float32Array(count)
  };
}
