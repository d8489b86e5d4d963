/**
 * One value in one file:
 *
 *   'TLV1' · u32 bytes of the head · head (msgpack: family, type, lengths of the frames) · pieces
 *
 * The frames, one after the other, are cut into pieces of 1 MiB: u32 bytes in the file, u32 bytes
 * of the value, u32 CRC-32 of what is in the file, u32 codec, then the bytes. Little-endian.
 *
 * Pieces keep the control thread free: reading, writing and compression run in Node's thread pool,
 * and what is left here, the checksum of a piece, takes a third of a millisecond. Values are
 * compressed when a sample of them shrinks to 70 %.
 */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { decode, encode } from '../../protocol/codec.ts';
import type { Family } from '../../serialize/value.ts';
import { frameBytes } from '../store.ts';
import type { StoredValue } from '../store.ts';

const MAGIC = 0x31564c54;
const PIECE_HEAD = 16;
const PIECE = 2 ** 20;
const SAMPLES = 5;
const SAMPLE = 10_000;
/** A sample, and then a piece, must shrink to this part. */
const PAYS = 0.7;
/** Frames of fewer bytes share a buffer when they are read. */
const SMALL_FRAME = 16 * 1024;
const RAW = 0;

interface Codec {
  id: number;
  pack(bytes: Uint8Array): Promise<Uint8Array>;
  unpack(bytes: Uint8Array, size: number): Promise<Uint8Array>;
}

const DEFLATE: Codec = {
  id: 2,
  pack: bytes => promisify<Uint8Array, object, Buffer>(zlib.deflateRaw)(bytes, { level: 1 }),
  unpack: (bytes, size) =>
    promisify<Uint8Array, object, Buffer>(zlib.inflateRaw)(bytes, { maxOutputLength: size })
};

/** The fastest that this Node has. */
const CODEC: Codec =
  'zstdCompress' in zlib
    ? {
        id: 1,
        pack: bytes =>
          promisify<Uint8Array, object, Buffer>(zlib.zstdCompress)(bytes, {
            params: { [zlib.constants.ZSTD_c_compressionLevel]: 1 }
          }),
        unpack: (bytes, size) =>
          promisify<Uint8Array, object, Buffer>(zlib.zstdDecompress)(bytes, {
            maxOutputLength: size
          })
      }
    : DEFLATE;

interface Moves {
  transfer(size: number): ArrayBuffer;
}

interface Head {
  family: Family;
  type: string;
  lengths: number[];
}

/** Writes a new file and returns its size. Rejects with what the system says. */
export async function writeValue(path: string, value: StoredValue): Promise<number> {
  const frames = (await value.read?.()) ?? value.frames;
  const lengths = frames.map(frame => frame.length);
  const head = encode({ family: value.family, type: value.type, lengths } satisfies Head);
  const first = Buffer.alloc(8);
  first.writeUInt32LE(MAGIC, 0);
  first.writeUInt32LE(head.length, 4);
  const codec = (await shrinks(frames)) ? CODEC : null;
  const file = await open(path, 'wx', 0o600);
  try {
    let size = await writeAll(file, Buffer.concat([first, head]));
    for (const piece of pieces(frames)) size += await writePiece(file, piece, codec);
    return size;
  } finally {
    await file.close();
    // Read for this alone: memory is short.
    if (value.read !== undefined) {
      for (const { buffer } of frames) (buffer as ArrayBuffer & Moves).transfer(0);
    }
  }
}

async function writePiece(
  file: FileHandle,
  piece: Uint8Array,
  codec: Codec | null
): Promise<number> {
  const packed = codec === null ? piece : await codec.pack(piece);
  const pays = codec !== null && packed.length < piece.length;
  const bytes = pays ? packed : piece;
  const head = Buffer.alloc(PIECE_HEAD);
  head.writeUInt32LE(bytes.length, 0);
  head.writeUInt32LE(piece.length, 4);
  head.writeUInt32LE(zlib.crc32(bytes), 8);
  head.writeUInt32LE(pays ? codec.id : RAW, 12);
  return (await writeAll(file, head)) + (await writeAll(file, bytes));
}

/** A disk that is nearly full takes a part and says so only when asked for the rest. */
async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<number> {
  for (let at = 0; at < bytes.length;) {
    at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
  }
  return bytes.length;
}

/** The frames as one stream, cut; small frames are put together. */
function* pieces(frames: readonly Uint8Array[]): Generator<Uint8Array> {
  let gathered: Uint8Array[] = [];
  let size = 0;
  for (const frame of frames) {
    for (let at = 0; at < frame.length;) {
      const part = frame.subarray(at, at + PIECE - size);
      gathered.push(part);
      size += part.length;
      at += part.length;
      if (size < PIECE) continue;
      yield together(gathered);
      gathered = [];
      size = 0;
    }
  }
  if (size > 0) yield together(gathered);
}

function together(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
}

/** Compresses a sample. */
async function shrinks(frames: readonly Uint8Array[]): Promise<boolean> {
  const total = frameBytes(frames);
  if (total < SAMPLE) return false;
  const parts: Uint8Array[] = [];
  let start = 0;
  for (const frame of frames) {
    for (let i = 0; i < SAMPLES; i++) {
      const at = Math.floor((i * (total - SAMPLE)) / (SAMPLES - 1)) - start;
      if (at >= 0 && at < frame.length) parts.push(frame.subarray(at, at + SAMPLE));
    }
    start += frame.length;
  }
  const sample = Buffer.concat(parts);
  return (await CODEC.pack(sample)).length <= PAYS * sample.length;
}

/** Reads a file back. Rejects when it is not what was written. */
export async function readValue(path: string): Promise<StoredValue> {
  const file = await open(path, 'r');
  try {
    const first = await readAll(file, Buffer.alloc(8));
    if (first.readUInt32LE(0) !== MAGIC) throw new Error(`${path} is no file of a value`);
    const { size } = await file.stat();
    const headBytes = Math.min(first.readUInt32LE(4), size);
    const head = decode(await readAll(file, Buffer.alloc(headBytes))) as Head;
    const frames = emptyFrames(head.lengths);
    let left = frameBytes(frames);
    const target = new Filler(frames);
    while (left > 0) left -= await readPiece(file, path, target);
    return { family: head.family, type: head.type, frames, nbytes: frameBytes(frames) };
  } finally {
    await file.close();
  }
}

async function readPiece(file: FileHandle, path: string, target: Filler): Promise<number> {
  const head = await readAll(file, Buffer.alloc(PIECE_HEAD));
  const [stored, length] = [head.readUInt32LE(0), head.readUInt32LE(4)];
  const id = head.readUInt32LE(12);
  if (stored > PIECE || length > PIECE) throw new Error(`${path} is damaged`);
  const place = id === RAW ? target.next(length) : null;
  const bytes = await readAll(file, place ?? Buffer.alloc(stored));
  if (zlib.crc32(bytes) !== head.readUInt32LE(8)) {
    throw new Error(`${path} is damaged: its checksum is wrong`);
  }
  if (place !== null) return length;
  const codec = id === CODEC.id ? CODEC : DEFLATE;
  target.copy(id === RAW ? bytes : await codec.unpack(bytes, length));
  return length;
}

async function readAll<Bytes extends Uint8Array>(file: FileHandle, bytes: Bytes): Promise<Bytes> {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at);
    if (bytesRead === 0) throw new Error('a file of a value ends too early');
    at += bytesRead;
  }
  return bytes;
}

function emptyFrames(lengths: readonly number[]): Uint8Array[] {
  let small = 0;
  for (const length of lengths) if (length < SMALL_FRAME) small += length;
  const shared = new Uint8Array(small);
  let at = 0;
  return lengths.map(length =>
    length < SMALL_FRAME ? shared.subarray(at, (at += length)) : new Uint8Array(length)
  );
}

/** Fills frames with a stream of pieces. */
class Filler {
  private readonly frames: readonly Uint8Array[];
  private frame = 0;
  private at = 0;

  constructor(frames: readonly Uint8Array[]) {
    this.frames = frames;
    this.skip();
  }

  /** Where the next bytes belong, if that is one place; it counts as filled. */
  next(length: number): Uint8Array | null {
    const frame = this.frames[this.frame];
    if (frame === undefined || frame.length - this.at < length) return null;
    const place = frame.subarray(this.at, this.at + length);
    this.at += length;
    this.skip();
    return place;
  }

  copy(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const frame = this.frames[this.frame];
      if (frame === undefined) throw new Error('a file of a value holds more than it should');
      const part = bytes.subarray(from, from + frame.length - this.at);
      frame.set(part, this.at);
      this.at += part.length;
      from += part.length;
      this.skip();
    }
  }

  private skip(): void {
    while (this.at === this.frames[this.frame]?.length) {
      this.frame++;
      this.at = 0;
    }
  }
}
