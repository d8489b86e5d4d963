/**
 * The families `ndarray` and `arrow`: what TypeScript and Python exchange beyond plain data.
 *
 * An `ndarray` is a head (a msgpack map: `dtype` as NumPy spells it, `shape`, `order`, and `scalar`
 * for what Python had as a single number) and the items as raw bytes. Here one dimension is a typed
 * array, more are an NdArray, a scalar is a number. An `arrow` value is a head (`kind`: `table` or
 * `batch`) and an Arrow IPC stream, which this room does not look into.
 *
 * Only whole values are of these families: an array within an object makes it `js`.
 */
import { types } from 'node:util';
import { SerializationError } from '../base/errors.ts';
import { decode, encode } from '../protocol/codec.ts';
import type { Serialized } from './value.ts';

/** The items of an array, whatever its shape. */
export type NdItems =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

interface Head {
  dtype: string;
  shape: number[];
  order: 'C' | 'F';
  scalar?: boolean;
}

type Maker = new (buffer: ArrayBuffer, offset: number, length: number) => NdItems;

/** NumPy's types and ours. `|b1` is one byte each, 0 or 1. */
const MAKERS: Readonly<Record<string, Maker | undefined>> = {
  '|b1': Uint8Array,
  '|i1': Int8Array,
  '|u1': Uint8Array,
  '<i2': Int16Array,
  '<u2': Uint16Array,
  '<i4': Int32Array,
  '<u4': Uint32Array,
  '<f4': Float32Array,
  '<f8': Float64Array,
  '<i8': BigInt64Array,
  '<u8': BigUint64Array,
  // Pairs of real and imaginary part; counts of a unit.
  '<c8': Float32Array,
  '<c16': Float64Array
};
const DATES = /^<[mM]8(\[|$)/;
/** Uint8Array is plain data: bytes. */
const WRITTEN: Readonly<Record<string, string | undefined>> = {
  Int8Array: '|i1',
  Int16Array: '<i2',
  Uint16Array: '<u2',
  Int32Array: '<i4',
  Uint32Array: '<u4',
  Float32Array: '<f4',
  Float64Array: '<f8',
  BigInt64Array: '<i8',
  BigUint64Array: '<u8'
};

/** An array of several dimensions, or of a type that TypeScript has no array for. */
export class NdArray {
  /** Items in the order of memory; of complex numbers, real and imaginary part in turn. */
  readonly data: NdItems;
  readonly shape: readonly number[];
  /** As NumPy spells it: `<f8`, `|b1`, `<M8[ns]`. */
  readonly dtype: string;
  /** `C`: the last index moves fastest; `F`: the first. */
  readonly order: 'C' | 'F';

  constructor(
    data: NdItems,
    shape: readonly number[],
    options: { dtype?: string; order?: 'C' | 'F' } = {}
  ) {
    const dtype = options.dtype ?? (data instanceof Uint8Array ? '|u1' : WRITTEN[tagOf(data)]);
    if (dtype === undefined || makerOf(dtype) === undefined) {
      throw new SerializationError(`An NdArray of dtype ${dtype ?? tagOf(data)} is not known.`);
    }
    const count = shape.reduce((all, one) => all * one, 1);
    if (count * itemBytes(dtype) !== data.byteLength) {
      throw new SerializationError(
        `An NdArray of shape [${shape.join(', ')}] and dtype ${dtype} has ${count * itemBytes(dtype)} bytes, ` +
          `and its data ${data.byteLength}.`
      );
    }
    this.data = data;
    this.shape = shape;
    this.dtype = dtype;
    this.order = options.order ?? 'C';
    Object.defineProperty(this, BRAND, { value: 'ndarray' });
  }
}

/** An Arrow table or record batch, as the bytes of an IPC stream: `tableFromIPC(value.bytes)`. */
export class ArrowData {
  readonly bytes: Uint8Array;
  readonly kind: 'table' | 'batch';

  constructor(bytes: Uint8Array, kind: 'table' | 'batch' = 'table') {
    this.bytes = bytes;
    this.kind = kind;
    Object.defineProperty(this, BRAND, { value: 'arrow' });
  }
}

/** Classes of a library that was loaded twice, as user's and executor's, know each other by it. */
const BRAND = Symbol.for('taskloom.family');

/** The value as a family that both languages read, or null when it is none. */
export function writeArray(value: object): Serialized | null {
  if (types.isTypedArray(value)) {
    const dtype = WRITTEN[tagOf(value)];
    if (dtype === undefined || isDetached(value.buffer)) return null;
    const shape = [value.length];
    return writeItems({ dtype, shape, order: 'C' }, value as unknown as NdItems);
  }
  const brand = (value as { [BRAND]?: unknown })[BRAND];
  if (brand === 'ndarray') {
    const { dtype, shape, order, data } = value as NdArray;
    return writeItems({ dtype, shape: [...shape], order }, data);
  }
  if (brand === 'arrow') {
    const { kind, bytes } = value as ArrowData;
    return { family: 'arrow', frames: [encode({ kind }), Uint8Array.from(bytes)] };
  }
  return null;
}

function isDetached(buffer: ArrayBufferLike): boolean {
  return (buffer as { detached?: boolean }).detached === true;
}

function writeItems(head: Head, { buffer, byteOffset, byteLength }: NdItems): Serialized {
  const items = new Uint8Array(buffer, byteOffset, byteLength).slice();
  return { family: 'ndarray', frames: [encode(head), items] };
}

/** The value of a family of this room. Arrays are views of their frame where it is aligned. */
export function readArray({ family, frames }: Serialized): unknown {
  const head = decode(frames[0] as Uint8Array) as Head & { kind?: 'table' | 'batch' };
  const items = frames[1] ?? new Uint8Array(0);
  if (family === 'arrow') return new ArrowData(items, head.kind ?? 'table');
  const { dtype, shape, order, scalar } = head;
  const maker = makerOf(dtype);
  if (maker === undefined) {
    throw new SerializationError(
      `An array of NumPy's type ${dtype} cannot be read in TypeScript. Convert it in the Python task ` +
        `(array.astype('float64')), or let another Python task use it.`
    );
  }
  const data = view(maker, items);
  const own = !DATES.test(dtype) && !/^(<c|\|b)/.test(dtype);
  if (scalar === true) return own ? data[0] : scalarOf(dtype, data);
  return shape.length === 1 && own ? data : new NdArray(data, shape, { dtype, order });
}

function scalarOf(dtype: string, data: NdItems): unknown {
  if (dtype === '|b1') return data[0] === 1;
  return new NdArray(data, [], { dtype });
}

function view(maker: Maker, items: Uint8Array): NdItems {
  const size = (maker as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT;
  const aligned = items.byteOffset % size === 0 ? items : items.slice();
  return new maker(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size);
}

function makerOf(dtype: string): Maker | undefined {
  return DATES.test(dtype) ? BigInt64Array : MAKERS[dtype];
}

/** `<f8` has 8, `<M8[ns]` too. */
function itemBytes(dtype: string): number {
  return Number(/\d+/.exec(dtype)?.[0] ?? 0);
}

function tagOf(value: object): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}
