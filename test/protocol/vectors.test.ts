/** The bytes on the wire are those that vectors.json holds; other languages test against the same. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DataReader } from '../../src/comm/data.ts';
import type { DataMessage } from '../../src/comm/data.ts';
import { checkMessage } from '../../src/protocol/check.ts';
import { decodeBatch, encodeBatch } from '../../src/protocol/codec.ts';
import { PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import { dataBytes, fromJson, makeVectors, toJson } from './vectors.ts';
import type { Vectors } from './vectors.ts';

const vectors = JSON.parse(
  readFileSync(new URL('./vectors.json', import.meta.url), 'utf8')
) as Vectors;
const HINT = 'messages have changed: write the vectors anew with node test/protocol/generate.ts';

describe('test vectors', () => {
  it('are those of the examples, all of them', () => {
    expect(vectors.protocol).toBe(PROTOCOL_VERSION);
    expect(vectors, HINT).toEqual(makeVectors());
  });

  it.each(vectors.control)('$link: $op', ({ link, op, messages, hex }) => {
    const batch = fromJson(messages) as { op: string }[];
    expect(batch.length).toBeGreaterThan(0);
    expect(Buffer.from(encodeBatch(batch)).toString('hex')).toBe(hex);
    const decoded = decodeBatch(Uint8Array.from(Buffer.from(hex, 'hex')));
    expect(decoded.map(toJson)).toEqual(messages);
    for (const message of decoded) {
      expect(message.op).toBe(op);
      // What goes to a scheduler passes its door.
      if (link.endsWith('to scheduler')) expect(() => checkMessage(message)).not.toThrow();
    }
  });

  it.each(vectors.data)('data link: $name', ({ head, frames, hex }) => {
    const bytes = Buffer.from(hex, 'hex');
    const parts = frames.map(frame => Uint8Array.from(Buffer.from(frame, 'hex')));
    expect(dataBytes(head as Record<string, unknown>, parts).toString('hex')).toBe(hex);
    // However the network cuts it.
    for (const size of [1, 7, bytes.length]) {
      const read: DataMessage[] = [];
      const reader = new DataReader(message => read.push(message));
      for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
      expect(read).toHaveLength(1);
      expect(read[0]?.head).toEqual(head);
      expect(read[0]?.frames.map(frame => Buffer.from(frame).toString('hex'))).toEqual(frames);
    }
  });

  it('have no field that other languages cannot read', () => {
    // undefined would travel as an extension type of msgpack.
    for (const { hex } of vectors.control) expect(hex).not.toContain('d40000');
  });
});
