/**
 * Values on the wire: what a task's arguments, results and scattered data become, and back.
 *
 * Two families. `plain` is msgpack that Python reads too: null, booleans, numbers, strings,
 * Uint8Array, arrays, objects with string keys. `js` is everything else a structured value can hold,
 * functions and instances of users' classes included; see docs/values.md. The family is found out
 * while writing.
 *
 * Frames never alias the user's memory. What cannot travel is refused with the path to it.
 */
import { ProtocolError, SerializationError } from '../base/errors.ts';
import { Encoder } from './encode.ts';
import { Decoder, decodePlain } from './decode.ts';
import { Refusal, describeRefusal } from './refusal.ts';

export { packFrames, unpackFrames } from './frames.ts';
export { sizeOf } from './size.ts';

/** Wire names of the families this room writes. */
export type Family = 'plain' | 'js';

/** One serialised value: frames[0] is the head (msgpack), the others are raw buffers. */
export interface Serialized {
  family: Family;
  frames: Uint8Array[];
}

export interface SerializeOptions {
  /** A future: the number of the dependency it stands for; undefined for any other object. */
  reference?: (value: object) => number | undefined;
  /** What the value is called in messages: `args` (the default for an array), `value`. */
  root?: string;
}

let spare: Encoder | undefined = new Encoder();

/** Serialises a value, or throws a SerializationError that names the path to what cannot travel. */
export function serializeValue(value: unknown, options?: SerializeOptions): Serialized {
  // A getter of the user's may serialise something itself: the inner call gets its own encoder.
  const encoder = spare ?? new Encoder();
  spare = undefined;
  encoder.reset(options?.reference, undefined);
  try {
    encoder.encode(value);
    const frames = [encoder.out.finish()];
    for (const frame of encoder.frames) frames.push(frame);
    return { family: encoder.plain ? 'plain' : 'js', frames };
  } catch (error) {
    throw explain(error, encoder, value, options);
  } finally {
    spare = encoder;
  }
}

function explain(
  error: unknown,
  encoder: Encoder,
  value: unknown,
  options: SerializeOptions | undefined
): unknown {
  const label = options?.root ?? (Array.isArray(value) ? 'args' : 'value');
  const place = encoder.places.at(-1) ?? { label, root: value, note: '' };
  if (error instanceof Refusal) return describeRefusal(error, place);
  if (error instanceof RangeError && /call stack/.test(error.message)) {
    return new SerializationError(
      `${label}: it is nested too deeply to be sent to a worker. Send it flatter: a long linked ` +
        `list, for instance, as an array.`,
      { cause: error }
    );
  }
  return error;
}

/**
 * The value again. Typed arrays of 1 KiB and more are views on the given frames where a frame is a
 * whole ArrayBuffer, so hand over frames that nobody else reads; all else is fresh.
 */
export function deserializeValue(
  serialized: Serialized,
  resolve?: (index: number) => unknown
): unknown {
  const head = serialized.frames[0];
  if (head === undefined) throw new ProtocolError('A serialised value has no frames.');
  if (serialized.family === 'plain') return decodePlain(head);
  return new Decoder(serialized.frames, resolve).decodeRoot();
}
