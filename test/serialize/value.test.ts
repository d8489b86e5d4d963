/** Values on the wire and back: what is kept exactly, what is refused and how, garbage in. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { Unpackr } from 'msgpackr';
import { describe, expect, it } from 'vitest';

import { ProtocolError, SerializationError, TaskError } from '../../src/base/errors.ts';
import {
  deserializeValue,
  packFrames,
  serializeValue,
  sizeOf,
  unpackFrames
} from '../../src/serialize/value.ts';

function roundTrip<T>(value: T): T {
  return deserializeValue(unpackFrames(packFrames(serializeValue(value)))) as T;
}

function refusal(value: unknown): string {
  try {
    serializeValue(value);
  } catch (error) {
    expect(error).toBeInstanceOf(SerializationError);
    return (error as Error).message;
  }
  throw new Error('it was not refused');
}

it('keeps nothing of what it wrote last alive', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const refs = (() => {
    const shared = { deep: [1] };
    const written = [shared, shared, new Uint8Array(4096)];
    serializeValue(written);
    const code = { shared, f: (): number => 1 };
    serializeValue([code]);
    return [shared, written, code].map(value => new WeakRef<object>(value));
  })();
  for (let i = 0; i < 50 && refs.some(ref => ref.deref() !== undefined); i++) {
    await new Promise(resolve => setTimeout(resolve, 10));
    collect();
  }
  expect(refs.map(ref => ref.deref())).toEqual([undefined, undefined, undefined]);
});

describe('the plain family', () => {
  it.each([
    [null],
    [true],
    [5],
    [-1],
    [-200],
    [-70000],
    [2 ** 40],
    [-(2 ** 40)],
    [1.5],
    [Number.MAX_SAFE_INTEGER],
    ['x'],
    ['é'.repeat(40)],
    ['日本'.repeat(20000)],
    [[1, [2, ['three']]]],
    [{ a: 1, 'b c': { d: [null] } }],
    [new Uint8Array([1, 2, 3])]
  ])('holds %j as msgpack any reader knows', value => {
    const { family, frames } = serializeValue(value);
    expect(family).toBe('plain');
    expect(frames).toHaveLength(1);
    const foreign = new Unpackr({ useRecords: false, int64AsType: 'number' }).unpack(frames[0]!);
    expect(foreign).toStrictEqual(value);
    expect(roundTrip(value)).toStrictEqual(value);
  });

  it('keeps what JSON loses: -0, NaN, infinities', () => {
    expect(roundTrip([-0, NaN, Infinity, -Infinity])).toStrictEqual([-0, NaN, Infinity, -Infinity]);
  });

  it('gives any JSON value back (property)', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), value => {
        expect(roundTrip(value)).toStrictEqual(value);
      })
    );
  });
});

const rich = fc.letrec(tie => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
      withSparseArray: true,
      withNullPrototype: true,
      withBoxedValues: true,
      maxDepth: 2
    }),
    fc.array(tie('value')),
    fc.uniqueArray(tie('value')).map(items => new Set(items)),
    fc.array(fc.tuple(tie('value'), tie('value'))).map(entries => new Map(entries)),
    fc.string({ unit: 'binary' }),
    fc.bigInt().map(n => n ** 5n),
    fc.float64Array({ minLength: 120, maxLength: 140 })
  )
}));

describe('the js family', () => {
  it('gives any structured value back (property)', () => {
    fc.assert(
      fc.property(rich.value, value => {
        expect(roundTrip(value)).toStrictEqual(value);
      }),
      { numRuns: 400 }
    );
  });

  it('keeps cycles and shared references', () => {
    const shared = { x: 1 };
    const root: Record<string, unknown> = { a: shared, b: [shared], m: new Map([[shared, 'k']]) };
    root['self'] = root;
    const back = roundTrip(root);
    expect(back['self']).toBe(back);
    expect((back['b'] as unknown[])[0]).toBe(back['a']);
    expect([...(back['m'] as Map<unknown, unknown>).keys()][0]).toBe(back['a']);
  });

  it('keeps every kind of typed array, small (in band) and large (out of band)', () => {
    const types = [
      Int8Array,
      Uint8ClampedArray,
      Uint16Array,
      Int16Array,
      Uint32Array,
      Int32Array,
      Float32Array,
      Float64Array
    ];
    for (const type of types) {
      for (const length of [0, 3, 5000]) {
        const array = new type(length).fill(7);
        const back = roundTrip([array])[0]!;
        expect(back).toStrictEqual(array);
        expect(back.buffer.byteLength).toBe(array.byteLength);
      }
    }
    const big = new BigInt64Array([-1n, 2n ** 62n]);
    expect(roundTrip(big)).toStrictEqual(big);
    const view = new DataView(new ArrayBuffer(16), 3, 5);
    view.setUint8(0, 9);
    expect(roundTrip(view).getUint8(0)).toBe(9);
    expect(roundTrip(Buffer.from('hello')).toString('utf8')).toBe('hello');
  });

  it('sends only the bytes a view shows, and never the memory itself', () => {
    const pool = new Float64Array(100_000);
    const window = pool.subarray(10, 400);
    const { frames } = serializeValue([window]);
    expect(frames[1]!.byteLength).toBe(390 * 8);
    pool[10] = 5;
    expect((deserializeValue({ family: 'js', frames }) as Float64Array[])[0]![0]).toBe(0);
  });

  it('keeps errors: class, cause, own properties, aggregates', () => {
    const cause = new RangeError('inner');
    const error = Object.assign(new TypeError('outer', { cause }), { code: 'E_X', items: [1n] });
    const back = roundTrip(error);
    expect(back).toBeInstanceOf(TypeError);
    expect(back.stack).toBe(error.stack);
    expect(back.cause).toBeInstanceOf(RangeError);
    expect(back).toMatchObject({ message: 'outer', code: 'E_X', items: [1n] });
    expect(Object.keys(back)).toEqual(['code', 'items']);
    const many = roundTrip(new AggregateError([cause, 'text'], 'many'));
    expect(many.errors[1]).toBe('text');
    const ours = roundTrip(new TaskError('key-1', 'it failed', { cause }));
    expect(ours).toBeInstanceOf(TaskError);
    expect(ours.key).toBe('key-1');
  });

  it('keeps holes, named properties, odd keys, halves of surrogate pairs', () => {
    // eslint-disable-next-line no-sparse-arrays
    expect(roundTrip([1, , undefined])).toStrictEqual([1, , undefined]);
    const far: number[] = [];
    far[5_000_000] = 1;
    expect(roundTrip(far).length).toBe(5_000_001);
    expect(roundTrip('abc'.match(/b/))).toMatchObject({ index: 1, input: 'abc' });
    const odd = JSON.parse('{"__proto__":{"x":1},"a":2}') as object;
    expect(Object.keys(roundTrip(odd))).toEqual(['__proto__', 'a']);
    expect(roundTrip({ ['\ud800']: 'x\udfff' })).toStrictEqual({ ['\ud800']: 'x\udfff' });
  });

  it('keeps the symbols that every process has', () => {
    const value = [Symbol.for('app.key'), Symbol.iterator];
    expect(roundTrip(value)).toEqual(value);
  });

  it('puts dependencies where their stand-ins were', () => {
    const future = new (class Future {})();
    const reference = (value: object): number | undefined => (value === future ? 3 : undefined);
    const serialized = serializeValue([{ deep: [future] }, future], { reference });
    const value = deserializeValue(serialized, index => `value ${index}`);
    expect(value).toEqual([{ deep: ['value 3'] }, 'value 3']);
  });
});

describe('what cannot be sent', () => {
  it.each([
    [[{ socket: Promise.resolve() }], /^args\[0\]\.socket: a Promise .* Await it first/],
    [[new Map([['k', { w: new WeakMap() }]])], /args\[0\]\.get\("k"\)\.w: a WeakMap/],
    [{ a: { 'b-c': Symbol('s') } }, /value\.a\["b-c"\]: a Symbol/],
    [[new Proxy({}, {})], /a Proxy/],
    [[new SharedArrayBuffer(8)], /SharedArrayBuffer/],
    [[new Headers()], /Object\.fromEntries/],
    [[[].values()], /Array Iterator .*Collect it into an array/],
    [[(function* () {})()], /Generator .*Collect it/],
    [[new AbortController().signal], /AbortSignal .*cancel its future/]
  ])('is refused with its path and the way out (%#)', (value, message) => {
    expect(refusal(value)).toMatch(message);
  });

  it('is refused when a transfer has emptied it', () => {
    const buffer = new ArrayBuffer(8);
    const view = new Uint8Array(buffer);
    structuredClone(buffer, { transfer: [buffer] });
    expect(refusal([view])).toMatch(/detached/);
  });

  it('is refused when it is nested beyond what a worker can read', () => {
    let list: object | null = null;
    for (let i = 0; i < 100_000; i++) list = { next: list };
    expect(refusal(list)).toMatch(/nested/);
    let fine: object | null = null;
    for (let i = 0; i < 1500; i++) fine = { next: fine, odd: undefined };
    expect(roundTrip(fine)).toBeTypeOf('object');
  });

  it('leaves the next value unharmed', () => {
    refusal([{ a: 1 }, Symbol('x')]);
    expect(roundTrip([{ a: 1 }])).toEqual([{ a: 1 }]);
  });
});

describe('damaged bytes', () => {
  const packed = packFrames(
    serializeValue([new Map([[1n, new Date(5)]]), new Float64Array(300), 'text', { a: undefined }])
  );

  it('are a ProtocolError wherever they are cut (each length)', () => {
    for (let length = 0; length < packed.length; length++) {
      expect(() => unpackFrames(packed.subarray(0, length))).toThrow(ProtocolError);
    }
  });

  it('never crash or hang the reader (property)', () => {
    const { frames } = unpackFrames(packed);
    fc.assert(
      fc.property(fc.nat(frames[0]!.length - 1), fc.nat(255), (at, byte) => {
        const head = frames[0]!.slice();
        head[at] = byte;
        try {
          deserializeValue({ family: 'js', frames: [head, ...frames.slice(1)] });
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
      }),
      { numRuns: 500 }
    );
  });
});

describe('sizeOf', () => {
  it('is near the truth for what fills memory', () => {
    expect(sizeOf(new Float64Array(1000))).toBeGreaterThanOrEqual(8000);
    expect(sizeOf(Array.from({ length: 100_000 }, (_, i) => i))).toBeGreaterThan(700_000);
    const records = Array.from({ length: 10_000 }, (_, i) => ({ id: i, name: `row ${i}` }));
    expect(sizeOf(records)).toBeGreaterThan(500_000);
    expect(sizeOf(records)).toBeLessThan(5_000_000);
    const one = new Uint8Array(1_000_000);
    expect(sizeOf(new Array(1000).fill(one))).toBeLessThan(2_000_000);
  });

  it('never throws', () => {
    const hostile = {
      get x(): never {
        throw new Error('no');
      }
    };
    expect(sizeOf(hostile)).toBeGreaterThan(0);
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(sizeOf(proxy)).toBeGreaterThan(0);
    fc.assert(fc.property(fc.anything(), value => sizeOf(value) >= 0));
  });
});
