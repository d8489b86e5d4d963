/**
 * The numbers of the value format. A head frame is always valid msgpack: what JSON-like data needs
 * is plain msgpack, everything else is a msgpack extension of one of these types. An extension's
 * payload may hold further msgpack values, written in place.
 *
 * Invariant shared by encode.ts and decode.ts: every array, map and extension marked "counted" takes
 * the next ordinal when it *starts*; `ref` names an earlier ordinal. Numbers are never reused.
 */

/** Extension types of the js family. */
export const Tag = {
  /** u32: the ordinal of an object that came earlier in this value. */
  ref: 1,
  undefined: 2,
  /** Sign byte, then magnitude, little-endian. */
  bigint: 3,
  /** float64 milliseconds. Counted. */
  date: 4,
  /** source, flags, lastIndex. Counted. */
  regexp: 5,
  /** count, then key and value in turn. Counted. */
  map: 6,
  /** count, then members. Counted. */
  set: 7,
  /** UTF-16 code units of a string that is not well formed. */
  string16: 8,
  /** length, count, then index and value in turn: holes and named properties survive. Counted. */
  sparse: 9,
  /** kind byte, then the bytes. Counted. */
  bytes: 10,
  /** kind byte, then u32: the frame that holds the bytes. Counted. */
  frame: 11,
  /** class name, count, then property and value in turn. Counted. */
  error: 12,
  /** href. Counted. */
  url: 13,
  /** query text. Counted. */
  urlParams: 14,
  /** the primitive inside `new Number(1)` and its like. Counted. */
  boxed: 15,
  /** count, then key and value: an object whose prototype is null. Counted. */
  nullObject: 16,
  /** count, then key and value: a plain object with a property named `__proto__`. Counted. */
  protoObject: 17,
  /** u32: the index of a dependency of the task. */
  dependency: 18,
  /** class, base, content, count, then property and value: an instance of a user's class. Counted. */
  instance: 19,
  /** a function or class with what it captures; see capture.ts. Counted. */
  closure: 20,
  /** u32 index of a module, export path: something imported. Counted. */
  imported: 21,
  /** dotted path of something every process has, such as `Math.max`. Counted. */
  global: 22,
  /** The root value, then the list of modules it imports. Always first in its head. */
  withModules: 23,
  /** CommonJS `require`, bound to the worker's root. Counted. */
  require: 24,
  /** A Temporal object: class name and text. Counted. */
  temporal: 25,
  /** A hole in an array, written where the item would be. */
  hole: 26,
  /** A symbol every process has: `@@iterator`, or the key of Symbol.for() after a `:`. */
  symbol: 27
} as const;

/** What a run of raw bytes becomes. The position in this list is the kind byte on the wire. */
export const BINARY_KINDS = [
  'ArrayBuffer',
  'DataView',
  'Buffer',
  'Uint8Array',
  'Int8Array',
  'Uint8ClampedArray',
  'Uint16Array',
  'Int16Array',
  'Uint32Array',
  'Int32Array',
  'Float16Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array'
] as const;

/** Views of at least this many bytes travel out of band, in a frame of their own. */
export const OUT_OF_BAND_MIN_BYTES = 1024;

/** Deeper nesting is refused at submit: it would overflow the stack of a worker thread. */
export const MAX_DEPTH = 2000;
