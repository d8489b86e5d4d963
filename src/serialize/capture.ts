/**
 * Captures a function with all it closes over, on the side that submits it.
 *
 * A capture is one value graph (closure.ts) whose root is the function. In Node it is finished at
 * the call. In Deno what surrounds a function can only be asked asynchronously: names are read from
 * the global scope at the call, then every function not met before is checked; where one turns out
 * to sit inside another function, the graph is written again with what that function's variables
 * hold by then. A name is never taken from the global scope on trust.
 */
import { createHash } from 'node:crypto';
import { SerializationError } from '../base/errors.ts';
import { Encoder } from './encode.ts';
import { newState } from './capture-state.ts';
import type { CaptureState } from './capture-state.ts';
import { captureHooks } from './closure.ts';
import { noteSurroundings } from './lookup.ts';
import { packFrames } from './frames.ts';
import { readRecordedImports } from './modules.ts';
import { describeRefusal, Refusal } from './refusal.ts';
import type { Place } from './refusal.ts';
import { surroundingsLater } from './scopes.ts';
import { Tag } from './tags.ts';
import { Writer } from './writer.ts';

/** A function ready to be sent. */
export interface CapturedFunction {
  /** Content hash of the blob, 32 hex digits; where the source stands in its file is left out. */
  hash: string;
  name: string;
  /** Opaque for everybody but `rebuildFunction`. */
  blob: Uint8Array;
  /** Futures captured by the closure: reference i in the blob stands for futures[i]. */
  futures: object[];
}

/** How to capture. */
export interface CaptureOptions {
  /** Whether an object is a future. */
  reference?: (value: object) => boolean;
}

/** One finished pass over a value. */
export interface Written {
  plain: boolean;
  frames: Uint8Array[];
  /** Nothing in it can differ at the next call. */
  constant: boolean;
}

type Reference = (value: object) => number | undefined;

/** Functions that capture nothing: analysed and written once. */
const finished = new WeakMap<Function, CapturedFunction>();

/** Captures a function: its source and the present values of the names it uses. */
export function captureFunction(
  fn: Function,
  options?: CaptureOptions
): CapturedFunction | Promise<CapturedFunction> {
  const known = finished.get(fn);
  if (known !== undefined) return known;
  if (typeof fn !== 'function') {
    throw new SerializationError(
      `A task needs a function, but got ${fn === null ? 'null' : `a value of type ${typeof fn}`}. ` +
        `Pass the function itself first, then its arguments: client.submit(fn, ...args).`
    );
  }
  const futures: object[] = [];
  const isFuture = options?.reference;
  const reference = (value: object): number | undefined => {
    if (isFuture === undefined || !isFuture(value)) return undefined;
    const index = futures.indexOf(value);
    return index >= 0 ? index : futures.push(value) - 1;
  };
  const place = {
    label: fn.name === '' ? 'the task' : fn.name,
    root: fn,
    note: 'the task function'
  };
  const written = writeWithCode(fn, reference, place);
  if (!(written instanceof Promise)) return finish(fn, written, futures);
  return written.then(result => finish(fn, result, futures));
}

function finish(fn: Function, written: Written, futures: object[]): CapturedFunction {
  const hash = createHash('sha256');
  // The last frame says where sources stand in their files: moving a function is no change of it.
  for (const frame of written.frames.slice(0, -1)) {
    hash.update(`${frame.length}:`);
    hash.update(frame);
  }
  const captured = {
    hash: hash.digest('hex').slice(0, 32),
    name: fn.name === '' ? 'lambda' : fn.name,
    blob: packFrames({ family: 'js', frames: written.frames }),
    futures
  };
  if (written.constant && futures.length === 0) finished.set(fn, captured);
  return captured;
}

/** Writes a value that holds functions or instances; a promise where they must be checked (Deno). */
export function writeWithCode(
  value: unknown,
  reference: Reference | undefined,
  place: Place
): Written | Promise<Written> {
  const pendingImports = readRecordedImports();
  if (pendingImports !== undefined) {
    return pendingImports.then(() => writeWithCode(value, reference, place));
  }
  const state = newState();
  const written = onePass(value, reference, place, state);
  if (state.unchecked.length === 0) return written;
  return check(value, reference, place, state, written);
}

async function check(
  value: unknown,
  reference: Reference | undefined,
  place: Place,
  first: CaptureState,
  provisional: Written
): Promise<Written> {
  let state = first;
  let written = provisional;
  for (;;) {
    let enclosed = false;
    const fresh = [...new Set(state.unchecked)];
    const looks = await Promise.all(fresh.map(surroundingsLater));
    for (const [i, look] of looks.entries()) {
      if (noteSurroundings(state, fresh[i]!, look)) enclosed = true;
    }
    if (!enclosed) {
      if (state.missing !== undefined) throw explain(state.missing, undefined, place);
      return written;
    }
    state = newState(state.found);
    written = onePass(value, reference, place, state);
    if (state.unchecked.length === 0) return written;
  }
}

function onePass(
  value: unknown,
  reference: Reference | undefined,
  place: Place,
  state: CaptureState
): Written {
  const encoder = spare ?? new Encoder();
  spare = undefined;
  encoder.reset(reference, captureHooks);
  encoder.capture = state;
  try {
    encoder.encode(value);
    return seal(encoder, state);
  } catch (error) {
    throw explain(error, encoder, place);
  } finally {
    encoder.clear();
    spare = encoder;
  }
}

/** Kept from value to value, as its buffers cost more than a capture. */
let spare: Encoder | undefined;
let locationWriter: Writer | undefined;

/** The list of modules behind the root, and the frame of locations behind all others. */
function seal(encoder: Encoder, state: CaptureState): Written {
  const { out } = encoder;
  const constant = !state.captured && state.unchecked.length === 0;
  if (state.locations.length === 0 && encoder.modules.length === 0) {
    return { plain: encoder.plain, frames: [out.finish(), ...encoder.frames], constant };
  }
  const at = out.at + 6;
  out.array(encoder.modules.length * 2);
  for (const module of encoder.modules) {
    encoder.string(module.specifier);
    encoder.string(module.url);
  }
  out.u32(at);
  out.wrapExtension(0, Tag.withModules);
  locationWriter ??= new Writer();
  const places = locationWriter;
  places.reset();
  places.array(state.locations.length * 3);
  for (const { url, line, column } of state.locations) {
    places.string(url);
    places.number(line);
    places.number(column);
  }
  return { plain: false, frames: [out.finish(), ...encoder.frames, places.finish()], constant };
}

/** The user's error for what went wrong while writing. */
export function explain(error: unknown, encoder: Encoder | undefined, place: Place): unknown {
  const where = encoder?.places.at(-1) ?? place;
  if (error instanceof Refusal) return describeRefusal(error, where);
  if (error instanceof RangeError && /call stack/.test(error.message)) {
    return new SerializationError(
      `${where.label}: it is nested too deeply to be sent to a worker. Send it flatter: a long ` +
        `linked list, for instance, as an array.`,
      { cause: error }
    );
  }
  return error;
}
