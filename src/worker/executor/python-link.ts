/**
 * Messages between a worker and a Python executor, through one socket: `u32` bytes of the head,
 * `u32` number of frames, the head (a msgpack map), `u64` length of each frame, then the frames,
 * those below 64 KiB first. Little-endian. python/taskloom/executor/link.py is the other side.
 */
import type { Duplex } from 'node:stream';
import { decode, encode } from '../../protocol/codec.ts';

const START = 8;
const SMALL = 64 * 1024;

export interface LinkMessage {
  head: Record<string, unknown>;
  frames: Uint8Array[];
}

/** Puts messages together from what a socket brings. */
export class LinkReader {
  private readonly onMessage: (message: LinkMessage) => void;
  private parts: Buffer[] = [];
  private held = 0;
  private wanted = START;
  private stage: 'start' | 'head' | 'small' | 'large' = 'start';
  private headBytes = 0;
  private head: Record<string, unknown> = {};
  private sizes: number[] = [];
  private frames: Uint8Array[] = [];
  /** The large frame that is being filled, and how far. */
  private filling = -1;
  private filled = 0;

  constructor(onMessage: (message: LinkMessage) => void) {
    this.onMessage = onMessage;
  }

  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.stage === 'large') rest = this.fill(rest);
      else {
        const take = Math.min(rest.length, this.wanted - this.held);
        this.parts.push(rest.subarray(0, take));
        this.held += take;
        rest = rest.subarray(take);
        while (!this.isFilling && this.held === this.wanted) this.step();
      }
    }
  }

  private get isFilling(): boolean {
    return this.stage === 'large';
  }

  private fill(chunk: Buffer): Buffer {
    const frame = this.frames[this.filling] as Uint8Array;
    const take = Math.min(chunk.length, frame.length - this.filled);
    frame.set(chunk.subarray(0, take), this.filled);
    this.filled += take;
    if (this.filled === frame.length) this.nextLarge(this.filling + 1);
    return chunk.subarray(take);
  }

  private take(): Buffer {
    const [first] = this.parts;
    const all = this.parts.length === 1 ? (first as Buffer) : Buffer.concat(this.parts);
    this.parts = [];
    this.held = 0;
    return all;
  }

  private step(): void {
    const bytes = this.take();
    if (this.stage === 'start') {
      this.headBytes = bytes.readUInt32LE(0);
      this.sizes = Array<number>(bytes.readUInt32LE(4)).fill(0);
      this.stage = 'head';
      this.wanted = this.headBytes + 8 * this.sizes.length;
    } else if (this.stage === 'head') {
      this.head = decode(bytes.subarray(0, this.headBytes)) as Record<string, unknown>;
      this.sizes = this.sizes.map((_, i) => Number(bytes.readBigUInt64LE(this.headBytes + 8 * i)));
      this.stage = 'small';
      this.wanted = 0;
      for (const size of this.sizes) if (size < SMALL) this.wanted += size;
    } else {
      // A copy: a view would keep the socket's whole buffer.
      const small = Uint8Array.from(bytes);
      let at = 0;
      this.frames = this.sizes.map(size =>
        size < SMALL ? small.subarray(at, (at += size)) : new Uint8Array(size)
      );
      this.nextLarge(0);
    }
  }

  private nextLarge(from: number): void {
    this.filling = this.sizes.findIndex((size, i) => i >= from && size >= SMALL);
    this.filled = 0;
    if (this.filling >= 0) {
      this.stage = 'large';
      return;
    }
    const { head, frames } = this;
    this.stage = 'start';
    this.wanted = START;
    this.frames = [];
    this.onMessage({ head, frames });
  }
}

/** Sends a message. */
export function sendMessage(
  socket: Duplex,
  head: Record<string, unknown>,
  frames: readonly Uint8Array[] = []
): void {
  if (socket.destroyed) return;
  const packed = encode(head);
  const start = Buffer.alloc(START + packed.length + 8 * frames.length);
  start.writeUInt32LE(packed.length, 0);
  start.writeUInt32LE(frames.length, 4);
  start.set(packed, START);
  frames.forEach((frame, i) => {
    start.writeBigUInt64LE(BigInt(frame.length), START + packed.length + 8 * i);
  });
  socket.cork();
  socket.write(Buffer.concat([start, ...frames.filter(frame => frame.length < SMALL)]));
  for (const frame of frames) if (frame.length >= SMALL) socket.write(frame);
  socket.uncork();
}
