/**
 * Tells the kinds of objects apart: by prototype where it is one of ours (fast), by internal slots
 * (node:util/types) for objects of another realm, by its classes for the rest.
 */
import { types } from 'node:util';
import * as errors from '../base/errors.ts';

/** The kinds that have their own form on the wire; everything else is an instance of some class. */
export type Kind =
  | 'object'
  | 'null-object'
  | 'binary'
  | 'map'
  | 'set'
  | 'date'
  | 'regexp'
  | 'error'
  | 'url'
  | 'url-params'
  | 'boxed'
  | 'temporal'
  | 'refused'
  | 'instance';

/** On every error of Taskloom, whichever copy of the package made it. */
const ERROR_BRAND = Symbol.for('taskloom.error');

const scope = globalThis as unknown as Record<string, unknown>;

function prototypes(names: readonly string[]): object[] {
  return names
    .map(name => scope[name])
    .filter(type => typeof type === 'function')
    .map(type => (type as { prototype: object }).prototype);
}

const ERROR_NAMES = [
  'Error',
  'TypeError',
  'RangeError',
  'SyntaxError',
  'ReferenceError',
  'EvalError',
  'URIError',
  'AggregateError'
];
const VIEW_NAMES =
  'ArrayBuffer DataView Buffer Uint8Array Int8Array Uint8ClampedArray Uint16Array Int16Array ' +
  'Uint32Array Int32Array Float16Array Float32Array Float64Array BigInt64Array BigUint64Array';

const KINDS = new Map<object, Kind>([[Object.prototype, 'object']]);
const table: [Kind, string][] = [
  ['binary', VIEW_NAMES],
  ['map', 'Map'],
  ['set', 'Set'],
  ['date', 'Date'],
  ['regexp', 'RegExp'],
  ['error', ERROR_NAMES.join(' ')],
  ['url', 'URL'],
  ['url-params', 'URLSearchParams'],
  ['boxed', 'Number String Boolean BigInt'],
  ['refused', 'Promise WeakMap WeakSet WeakRef SharedArrayBuffer Symbol']
];
/** Refused, too, and told by name: to look at these globals loads much that few programs use. */
const LAZY_REFUSED = new Set(
  (
    'Blob File Request Response Headers FormData AbortSignal AbortController ReadableStream ' +
    'WritableStream MessagePort WebSocket'
  ).split(' ')
);
for (const [kind, names] of table) {
  for (const prototype of prototypes(names.split(' '))) KINDS.set(prototype, kind);
}
for (const type of Object.values(errors)) KINDS.set(type.prototype, 'error');
for (const type of Object.values((scope['Temporal'] as object | undefined) ?? {})) {
  if (typeof type === 'function') KINDS.set((type as { prototype: object }).prototype, 'temporal');
}

/** What kind an object that is not an array is. */
export function kindOf(value: object): Kind {
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === null) return types.isModuleNamespaceObject(value) ? 'instance' : 'null-object';
  const known = KINDS.get(prototype);
  if (known !== undefined) return disguised(value, known) ? 'refused' : known;
  return foreignKind(value, prototype);
}

/** Objects that look plain by prototype and are not: proxies, `arguments`, `Object.create(promise)`. */
function disguised(value: object, kind: Kind): boolean {
  if (types.isProxy(value)) return true;
  return kind === 'object' && types.isArgumentsObject(value);
}

function foreignKind(value: object, prototype: object): Kind {
  if (types.isProxy(value) || types.isArgumentsObject(value)) return 'refused';
  if (types.isPromise(value) || types.isGeneratorObject(value)) return 'refused';
  if (types.isWeakMap(value) || types.isWeakSet(value)) return 'refused';
  if (types.isSharedArrayBuffer(value) || isExternal(value)) return 'refused';
  if (types.isMapIterator(value) || types.isSetIterator(value)) return 'refused';
  const constructor = ownConstructor(prototype);
  if (ERROR_BRAND in value) return 'error';
  if (constructor === undefined && Object.prototype.toString.call(value) !== '[object Object]') {
    return 'refused';
  }
  const name = constructor?.name ?? '';
  if (LAZY_REFUSED.has(name) && scope[name] === constructor) return 'refused';
  // The same built-in class, of another realm (a vm context).
  const native = constructor !== undefined && isNativeFunction(constructor);
  if (!native) return 'instance';
  if (Object.getPrototypeOf(prototype) === null) return 'object';
  if (types.isMap(value)) return 'map';
  if (types.isSet(value)) return 'set';
  if (types.isDate(value)) return 'date';
  if (types.isRegExp(value)) return 'regexp';
  if (types.isNativeError(value)) return 'error';
  if (types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)) return 'binary';
  if (types.isBoxedPrimitive(value)) return 'boxed';
  return 'refused';
}

/** Deno's node:util lacks this test, and has no such objects. */
function isExternal(value: object): boolean {
  return typeof types.isExternal === 'function' && types.isExternal(value);
}

/** The constructor a prototype names, when it names one itself. */
export function ownConstructor(prototype: object): Function | undefined {
  const own = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value as unknown;
  return typeof own === 'function' ? own : undefined;
}

/** Whether a function's source is hidden: built into the engine, or bound. */
export function isNativeFunction(fn: Function): boolean {
  return /\{\s*\[native code\]\s*\}\s*$/.test(Function.prototype.toString.call(fn));
}

/** What to call an object's class in a message. */
export function classNameOf(value: object): string {
  if (types.isProxy(value)) return 'Proxy';
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (tag !== 'Object') return tag;
  let prototype = Object.getPrototypeOf(value) as object | null;
  while (prototype !== null) {
    const name = ownConstructor(prototype)?.name;
    if (name !== undefined && name !== '') return name;
    prototype = Object.getPrototypeOf(prototype) as object | null;
  }
  return 'object without a class';
}

/** The class an error is made of again: one of the language's, or one of Taskloom's. */
export function errorClassName(error: object): string {
  const brands = (error as { [ERROR_BRAND]?: readonly string[] })[ERROR_BRAND];
  const ours = brands?.find(name => name in errors);
  if (ours !== undefined) return ours;
  let prototype = Object.getPrototypeOf(error) as object | null;
  while (prototype !== null) {
    const name = ownConstructor(prototype)?.name;
    if (name !== undefined && ERROR_NAMES.includes(name)) return name;
    prototype = Object.getPrototypeOf(prototype) as object | null;
  }
  return 'Error';
}

/** An empty error of that class, its brand included. */
export function emptyError(className: string): Error {
  const native = ERROR_NAMES.includes(className);
  const type = (native ? scope : (errors as Record<string, unknown>))[className];
  const error = bareError(typeof type === 'function' ? type : Error);
  if (!native && type !== undefined) {
    const value = className === 'TaskloomError' ? [className] : [className, 'TaskloomError'];
    Object.defineProperty(error, ERROR_BRAND, { value });
  }
  return error;
}

/** A true error object of a class, made without running its constructor. */
export function bareError(type: Function): Error {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const error = Reflect.construct(Error, [], type) as Error;
  Error.stackTraceLimit = limit;
  delete error.stack;
  return error;
}
