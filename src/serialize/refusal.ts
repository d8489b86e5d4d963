/**
 * How a value that cannot travel is refused: with the path to it, what it is, and the way out.
 *
 * The encoder keeps no path while it walks (that would tax every value for the sake of the few that
 * fail). It throws a `Refusal` that holds the offender, and the path is searched for afterwards.
 */
import { SerializationError } from '../base/errors.ts';

/** Thrown inside the encoder; `describeRefusal` makes the user's error of it. */
export class Refusal extends Error {
  readonly offender: unknown;
  readonly what: string;
  readonly remedy: string;
  constructor(offender: unknown, what: string, remedy: string) {
    super(what);
    this.offender = offender;
    this.what = what;
    this.remedy = remedy;
  }
}

/** A value being walked, and what to call it: `args`, or `conn, captured by function load`. */
export interface Place {
  label: string;
  root: unknown;
  /** Written after the path: `captured by function load`. */
  note: string;
}

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;
const SEARCH_LIMIT = 1_000_000;

/** The error for a refusal met at `place`. */
export function describeRefusal(refusal: Refusal, place: Place): SerializationError {
  const path = place.label + (findPath(place.root, refusal.offender) ?? '');
  const note = place.note === '' ? '' : ` (${place.note})`;
  return new SerializationError(
    `${path}${note}: ${refusal.what} cannot be sent to a worker. ${refusal.remedy}`
  );
}

/** Breadth-first, so that the shortest of several paths is named. */
function findPath(root: unknown, target: unknown): string | undefined {
  if (Object.is(root, target)) return '';
  const seen = new Set<unknown>([root]);
  const queue: { value: unknown; path: string }[] = [{ value: root, path: '' }];
  for (let next = 0; next < queue.length && seen.size < SEARCH_LIMIT; next++) {
    const { value, path } = queue[next]!;
    for (const [step, child] of steps(value)) {
      if (Object.is(child, target)) return path + step;
      if (typeof child !== 'object' || child === null || seen.has(child)) continue;
      seen.add(child);
      queue.push({ value: child, path: path + step });
    }
  }
  return undefined;
}

function* steps(value: unknown): Iterable<[string, unknown]> {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  if (value instanceof Map) {
    for (const [key, item] of value as Map<unknown, unknown>) {
      yield [`.get(${label(key)})`, item];
      yield [`.keys(${label(key)})`, key];
    }
  } else if (value instanceof Set) {
    for (const item of value as Set<unknown>) yield ['.values()', item];
  }
  const names = value instanceof Error ? Object.getOwnPropertyNames(value) : Object.keys(value);
  for (const name of names) {
    const step = Array.isArray(value) && /^\d+$/.test(name) ? `[${name}]` : member(name);
    yield [step, (value as Record<string, unknown>)[name]];
  }
}

function member(name: string): string {
  return IDENTIFIER.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
}

function label(key: unknown): string {
  if (typeof key === 'string') return JSON.stringify(key);
  return typeof key === 'object' && key !== null ? 'an object' : String(key);
}

const REMEDIES: Readonly<Record<string, string>> = {
  Promise: 'Await it first, and send what it gives.',
  WeakMap: 'Its contents cannot be listed: use a Map, or make it inside the task.',
  WeakSet: 'Its contents cannot be listed: use a Set, or make it inside the task.',
  WeakRef: 'Send what it points to.',
  Generator: 'Collect it into an array first, or make it inside the task.',
  AsyncGenerator: 'Collect it into an array first, or make it inside the task.',
  SharedArrayBuffer:
    'Workers share no memory: send a copy of its bytes, new Uint8Array(it).slice().',
  Arguments: 'Send Array.from(arguments).',
  Timeout: 'Start the timer inside the task.',
  Immediate: 'Start the timer inside the task.',
  Blob: 'Send await blob.arrayBuffer().',
  File: 'Send await file.arrayBuffer().',
  Request: 'Send its url and options, and make it inside the task.',
  Response: 'Send await response.json() or .arrayBuffer().',
  Headers: 'Send Object.fromEntries(headers).',
  AbortSignal: 'Make it inside the task; to stop a task, cancel its future.',
  AbortController: 'Make it inside the task; to stop a task, cancel its future.'
};

/** The refusal of a live or native object, by the name of its class. */
export function refuseHost(value: object, name: string): Refusal {
  const remedy =
    REMEDIES[name] ??
    (name.endsWith(' Iterator') ? 'Collect it into an array first.' : undefined) ??
    'It belongs to this process: open or make it inside the task, and send only plain data such as a path or an address.';
  return new Refusal(value, `${article(name)} ${name}`, remedy);
}

function article(name: string): string {
  return /^[aeiou]/i.test(name) ? 'an' : 'a';
}
