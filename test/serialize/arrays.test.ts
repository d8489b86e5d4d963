/** Families that TypeScript and Python share: the vectors of both suites, and what stays out. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { SerializationError } from '../../src/base/errors.ts';
import { ArrowData, NdArray } from '../../src/serialize/arrays.ts';
import {
  deserializeValue,
  packFrames,
  serializeValue,
  unpackFrames
} from '../../src/serialize/value.ts';

interface Vector {
  family: string;
  hex: string;
  value?: unknown;
  dtype: string;
  shape: number[];
  order: string;
  scalar: boolean;
  items: string[];
}

const VECTORS = JSON.parse(
  readFileSync(new URL('./vectors.json', import.meta.url), 'utf8')
) as Vector[];

/** As Python says it: `1.0`, `True`. */
function asPython(vector: Vector, item: unknown): string {
  if (vector.dtype === '|b1') return item === 1 || item === true ? 'True' : 'False';
  const float = vector.dtype.includes('f') && Number.isInteger(item);
  return float ? `${String(item)}.0` : String(item);
}

describe('vectors', () => {
  it.each(VECTORS)('$family $hex', vector => {
    const packed = Uint8Array.from(Buffer.from(vector.hex, 'hex'));
    const serialized = unpackFrames(packed);
    expect(serialized.family).toBe(vector.family);
    const value = deserializeValue(serialized);
    if (vector.family === 'plain') {
      const wanted = vector.value as { $bytes?: string } | null;
      expect(value).toEqual(
        wanted?.$bytes === undefined ? wanted : Uint8Array.from(Buffer.from(wanted.$bytes, 'hex'))
      );
    } else if (vector.scalar) {
      expect([asPython(vector, value)]).toEqual(vector.items);
      return;
    } else {
      const items = value instanceof NdArray ? value.data : (value as Float64Array);
      expect([...items].map(item => asPython(vector, item))).toEqual(vector.items);
      if (value instanceof NdArray) {
        expect(value).toMatchObject({
          dtype: vector.dtype,
          shape: vector.shape,
          order: vector.order
        });
      } else expect(vector.shape).toEqual([items.length]);
    }
    const again = deserializeValue(unpackFrames(packFrames(serializeValue(value))));
    expect(again).toEqual(value);
  });
});

it('writes typed arrays so that Python reads them, but bytes as bytes', () => {
  expect(serializeValue(new Float64Array(3)).family).toBe('ndarray');
  expect(serializeValue(new BigInt64Array(3)).family).toBe('ndarray');
  expect(serializeValue(new Uint8Array(3)).family).toBe('plain');
  for (const value of [Buffer.from('x'), new Uint8ClampedArray(1), { a: new Float32Array(1) }]) {
    expect(serializeValue(value).family).toBe('js');
  }
});

it('gives views on frames that are aligned', () => {
  const { family, frames } = serializeValue(new Float64Array([1, 2]));
  const again = deserializeValue({ family, frames }) as Float64Array;
  expect(again.buffer).toBe(frames[1]?.buffer);
});

it('does not alias the memory of the user', () => {
  const array = new Float64Array([1]);
  const written = serializeValue(array);
  array[0] = 2;
  expect(deserializeValue(written)).toEqual(new Float64Array([1]));
});

it('keeps Arrow data as bytes with their kind', () => {
  const value = deserializeValue(serializeValue(new ArrowData(new Uint8Array([1, 2]), 'batch')));
  expect(value).toBeInstanceOf(ArrowData);
  expect(value).toEqual(new ArrowData(new Uint8Array([1, 2]), 'batch'));
});

it('refuses what no array can be made of', () => {
  expect(() => new NdArray(new Float64Array(3), [2, 2])).toThrow('has 32 bytes, and its data 24');
  expect(() => new NdArray(new Float64Array(1), [1], { dtype: '<U3' })).toThrow('is not known');
});

it('leaves pickles to Python, with a remedy', () => {
  const pickle = unpackFrames(packFrames({ family: 'pickle', frames: [new Uint8Array(2)] }));
  expect(() => deserializeValue(pickle)).toThrow(SerializationError);
  expect(() => deserializeValue(pickle)).toThrow(/only Python reads.*numpy array or an Arrow/);
});
