/** The test vectors as they lie in vectors.json, and how bytes are written in JSON. */
import { PassThrough } from 'node:stream';
import type { Socket } from 'node:net';
import { writeData } from '../../src/comm/data.ts';
import { encodeBatch } from '../../src/protocol/codec.ts';
import { PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import { DATA_EXAMPLES, EXAMPLES } from './examples.ts';

export interface Vectors {
  protocol: number;
  /** Control frames of one message each, and one of each direction's registration or hello. */
  control: { link: string; op: string; messages: unknown[]; hex: string }[];
  /** Whole messages of data links. */
  data: { name: string; head: unknown; frames: string[]; hex: string }[];
}

/** JSON has no bytes: `{"$bytes": "00ff"}`. */
export function toJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, toJson(one)]));
}

/** Undoes `toJson`. */
export function fromJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromJson);
  if (typeof value !== 'object' || value === null) return value;
  const { $bytes } = value as { $bytes?: string };
  if ($bytes !== undefined) return Uint8Array.from(Buffer.from($bytes, 'hex'));
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, fromJson(one)]));
}

/** What a data link writes for a message. */
export function dataBytes(head: Record<string, unknown>, frames: Uint8Array[]): Buffer {
  const stream = new PassThrough({ highWaterMark: 1 << 20 });
  writeData(stream as unknown as Socket, { head, frames });
  return stream.read() as Buffer;
}

/** All vectors, from the examples. */
export function makeVectors(): Vectors {
  const control: Vectors['control'] = [];
  for (const [link, byOp] of Object.entries(EXAMPLES)) {
    for (const [op, messages] of Object.entries(byOp)) {
      const hex = Buffer.from(encodeBatch(messages)).toString('hex');
      control.push({ link, op, messages: messages.map(toJson), hex });
    }
  }
  const data = DATA_EXAMPLES.map(({ name, head, frames }) => ({
    name,
    head: toJson(head),
    frames: frames.map(frame => Buffer.from(frame).toString('hex')),
    hex: dataBytes(head, frames).toString('hex')
  }));
  return { protocol: PROTOCOL_VERSION, control, data };
}
