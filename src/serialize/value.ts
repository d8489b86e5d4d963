/**
 * Values on the wire: what a task's arguments, results and scattered data become, and back.
 *
 * `plain` is msgpack that Python reads too: null, booleans, numbers, strings, Uint8Array, arrays,
 * objects with string keys. `ndarray` and `arrow` (arrays.ts) are read by both, too. `js` is
 * everything else a structured value can hold, functions and instances of users' classes included;
 * see docs/values.md. The family is found out while writing. `pickle` is Python's own: opaque here.
 *
 * Frames never alias the user's memory. What cannot travel is refused with the path to it.
 */
import { ProtocolError, SerializationError } from '../base/errors.ts';
import { Encoder } from './encode.ts';
import type { EncodeHooks } from './encode.ts';
import { explain, writeWithCode } from './capture.ts';
import type { Written } from './capture.ts';
import { readArray, writeArray } from './arrays.ts';
import { decodePlain } from './decode.ts';
import { decodeWithCode, loadImports } from './rebuild.ts';
import type { Place } from './refusal.ts';

export { packFrames, unpackFrames } from './frames.ts';
export { sizeOf } from './size.ts';

/** Wire names of the families. */
export type Family = 'plain' | 'js' | 'pickle' | 'ndarray' | 'arrow';

/** One serialised value: frames[0] is the head (msgpack), the others are raw buffers. */
export interface Serialized {
  family: Family;
  frames: Uint8Array[];
}

/** How to write a value. */
export interface SerializeOptions {
  /** A future: the number of the dependency it stands for; undefined for any other object. */
  reference?: (value: object) => number | undefined;
  /** What the value is called in messages: `args` (the default for an array), `value`. */
  root?: string;
}

let spare: Encoder | undefined = new Encoder();

/** Thrown by the fast path when a value holds code: it is then written by capture.ts. */
const HOLDS_CODE = new Error('code');
const noCode: EncodeHooks = {
  callable() {
    throw HOLDS_CODE;
  },
  instance() {
    throw HOLDS_CODE;
  }
};

/**
 * Serialises a value, or throws a SerializationError that names the path to what cannot travel.
 * In a Deno notebook a value that holds functions needs `serializeValueAsync`.
 */
export function serializeValue(value: unknown, options?: SerializeOptions): Serialized {
  const serialized = serializeValueAsync(value, options);
  if (!(serialized instanceof Promise)) return serialized;
  serialized.catch(() => {});
  throw new SerializationError(
    `${placeOf(value, options).label}: it holds a function, which in this runtime takes a moment to ` +
      `capture. Serialise it with serializeValueAsync, or submit the function itself as a task.`
  );
}

/** The same; a promise where a value holds functions and the runtime's inspector must be awaited. */
export function serializeValueAsync(
  value: unknown,
  options?: SerializeOptions
): Serialized | Promise<Serialized> {
  const array = typeof value === 'object' && value !== null ? writeArray(value) : null;
  if (array !== null) return array;
  // A getter of the user's may serialise something itself: the inner call gets its own encoder.
  const encoder = spare ?? new Encoder();
  spare = undefined;
  encoder.reset(options?.reference, noCode);
  try {
    encoder.encode(value);
    const frames = [encoder.out.finish()];
    for (const frame of encoder.frames) frames.push(frame);
    return { family: encoder.plain ? 'plain' : 'js', frames };
  } catch (error) {
    if (error !== HOLDS_CODE) throw explain(error, encoder, placeOf(value, options));
  } finally {
    encoder.clear();
    spare = encoder;
  }
  const written = writeWithCode(value, options?.reference, placeOf(value, options));
  return written instanceof Promise ? written.then(asSerialized) : asSerialized(written);
}

function asSerialized({ plain, frames }: Written): Serialized {
  return { family: plain ? 'plain' : 'js', frames };
}

function placeOf(value: unknown, options: SerializeOptions | undefined): Place {
  return {
    label: options?.root ?? (Array.isArray(value) ? 'args' : 'value'),
    root: value,
    note: ''
  };
}

/** Why a value of Python's own family cannot be read here, and what to do. */
export function foreign(what: string): string {
  return (
    `${what} is of family pickle, which only Python reads. Let the Python task return plain data ` +
    `(None, bool, int, float, str, bytes, lists, dicts with str keys), a numpy array or an Arrow ` +
    `table, or convert it in a Python task in between.`
  );
}

/** How to read a value that holds functions. */
export interface DeserializeOptions {
  /** The directory their imports are resolved from; the working directory unless given. */
  root?: string;
}

/**
 * The value again. Typed arrays of 1 KiB and more are views on the given frames where a frame is a
 * whole ArrayBuffer, so hand over frames that nobody else reads; all else is fresh.
 */
export function deserializeValue(
  serialized: Serialized,
  resolve?: (index: number) => unknown,
  options?: DeserializeOptions
): unknown {
  const head = serialized.frames[0];
  if (head === undefined) throw new ProtocolError('A serialised value has no frames.');
  const { family } = serialized;
  if (family === 'plain') return decodePlain(head);
  if (family === 'ndarray' || family === 'arrow') return readArray(serialized);
  if (family === 'pickle') throw new SerializationError(foreign('This value'));
  const root = options?.root ?? process.cwd();
  return decodeWithCode(serialized.frames, resolve === undefined ? { root } : { root, resolve });
}

/** The same, with the modules that functions in the value need imported first. */
export async function deserializeValueAsync(
  serialized: Serialized,
  resolve?: (index: number) => unknown,
  options?: DeserializeOptions
): Promise<unknown> {
  const head = serialized.frames[0];
  if (serialized.family === 'js' && head !== undefined) {
    await loadImports(head, options?.root ?? process.cwd());
  }
  return deserializeValue(serialized, resolve, options);
}
