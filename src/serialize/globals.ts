/**
 * Names that every process has, so that they are never shipped: the language's, and those that Node
 * gives its programs. What a user put in their place is told apart by comparing with the values seen
 * when this module was loaded.
 */
const LANGUAGE =
  'Object Function Array Number parseFloat parseInt Infinity NaN undefined Boolean String Symbol ' +
  'Date Promise RegExp Error AggregateError EvalError RangeError ReferenceError SyntaxError ' +
  'TypeError URIError globalThis JSON Math Intl ArrayBuffer Atomics Uint8Array Int8Array ' +
  'Uint16Array Int16Array Uint32Array Int32Array BigUint64Array BigInt64Array Uint8ClampedArray ' +
  'Float32Array Float64Array DataView Map BigInt Set WeakMap WeakSet Proxy Reflect ' +
  'FinalizationRegistry WeakRef decodeURI decodeURIComponent encodeURI encodeURIComponent escape ' +
  'unescape eval isFinite isNaN SharedArrayBuffer WebAssembly Iterator Float16Array Temporal ' +
  'SuppressedError DisposableStack AsyncDisposableStack';
const HOST =
  'console process Buffer global queueMicrotask structuredClone setTimeout clearTimeout ' +
  'setInterval clearInterval setImmediate clearImmediate fetch Headers Request Response FormData ' +
  'URL URLSearchParams URLPattern AbortController AbortSignal Event EventTarget CustomEvent ' +
  'MessageChannel MessagePort MessageEvent BroadcastChannel Blob File TextEncoder TextDecoder ' +
  'TextEncoderStream TextDecoderStream CompressionStream DecompressionStream ReadableStream ' +
  'WritableStream TransformStream ByteLengthQueuingStrategy CountQueuingStrategy atob btoa ' +
  'performance Performance PerformanceEntry PerformanceMark PerformanceMeasure ' +
  'PerformanceObserver crypto Crypto CryptoKey SubtleCrypto DOMException WebSocket navigator ' +
  'Navigator EventSource CloseEvent';

const KNOWN = new Set([...LANGUAGE.split(' '), ...HOST.split(' ')]);

interface Pristine {
  descriptor: PropertyDescriptor | undefined;
}

/**
 * Node loads these when they are first looked at, in twenty milliseconds that every process would
 * pay: what they are is noted at the first look instead.
 */
const LOADED_LATE = new Set(
  'Headers Request Response FormData MessageEvent WebSocket CloseEvent EventSource'.split(' ')
);

const pristine = new Map<string, Pristine>();
for (const name of KNOWN) {
  if (LOADED_LATE.has(name)) continue;
  pristine.set(name, { descriptor: Object.getOwnPropertyDescriptor(globalThis, name) });
}

/** Whether a name means the same on every worker: known there, and not redefined here. */
export function isSharedGlobal(name: string): boolean {
  if (!KNOWN.has(name)) return false;
  const now = Object.getOwnPropertyDescriptor(globalThis, name);
  return now === undefined || isPristine(name, now);
}

/** Whether a value is what a known global name has always stood for here. */
export function isSharedValue(name: string, value: unknown): boolean {
  if (!isSharedGlobal(name)) return false;
  return Object.is((globalThis as unknown as Record<string, unknown>)[name], value);
}

/** Some globals start as getters that replace themselves with what they give. */
function isPristine(name: string, now: PropertyDescriptor): boolean {
  const known = pristine.get(name);
  if (known === undefined) pristine.set(name, { descriptor: now });
  const then = known?.descriptor;
  if (then === undefined) return true;
  if (then.get === undefined) return now.get === undefined && Object.is(then.value, now.value);
  if (now.get === then.get) return true;
  return now.get === undefined && Object.is(then.get.call(globalThis), now.value);
}

let paths: Map<unknown, string> | undefined;

/** The dotted path of a function that every process has: `Math.max`, `Array.prototype.map`. */
export function globalPathOf(value: unknown): string | undefined {
  paths ??= collectPaths();
  return paths.get(value);
}

function collectPaths(): Map<unknown, string> {
  const found = new Map<unknown, string>();
  const add = (value: unknown, path: string): boolean => {
    const usable = typeof value === 'function' || (typeof value === 'object' && value !== null);
    if (!usable || found.has(value)) return false;
    found.set(value, path);
    return true;
  };
  for (const [name, { descriptor }] of pristine) {
    const value = descriptor?.value as unknown;
    if (name === 'globalThis' || name === 'global' || name === 'process') continue;
    if (!add(value, name)) continue;
    for (const [member, inner] of dataProperties(value as object)) {
      if (member === 'prototype') {
        for (const [method, fn] of dataProperties(inner as object)) {
          if (typeof fn === 'function') add(fn, `${name}.prototype.${method}`);
        }
      } else if (typeof inner === 'function') add(inner, `${name}.${member}`);
    }
  }
  add(globalThis, 'globalThis');
  return found;
}

function* dataProperties(object: object): Iterable<[string, unknown]> {
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(object))) {
    if ('value' in descriptor && name !== 'constructor') yield [name, descriptor.value];
  }
}

/** What a dotted path stands for here. */
export function followPath(start: unknown, path: string): unknown {
  let value = start;
  for (const step of path === '' ? [] : path.split('.')) {
    if (value === undefined || value === null) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}
