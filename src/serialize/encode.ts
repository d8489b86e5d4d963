/**
 * Writes one JavaScript value as a head frame and raw frames, in a single pass.
 *
 * The head is plain msgpack until something appears that plain msgpack cannot say (a Date, a cycle,
 * `undefined`, a second reference to one object): then an extension is written and the family is
 * `js`. So data that Python can read is found out without a pass of its own.
 *
 * Functions and instances of users' classes are the capture's matter: it hooks in here, so that one
 * graph with shared identities holds values and code alike.
 */
import { types } from 'node:util';
import { BINARY_KINDS, MAX_DEPTH, OUT_OF_BAND_MIN_BYTES, Tag } from './tags.ts';
import { Writer } from './writer.ts';
import { Refusal, refuseHost } from './refusal.ts';
import type { Place } from './refusal.ts';
import { classNameOf, errorClassName, kindOf } from './natives.ts';
import type { Kind } from './natives.ts';

/** What the capture adds to the encoder. */
export interface EncodeHooks {
  callable(encoder: Encoder, fn: Function): void;
  instance(encoder: Encoder, value: object): void;
}

/** Where something imported comes from. */
export interface ModuleRef {
  /** As written in the import declaration: `node:path`, `lodash`, `npm:lodash@4`. */
  specifier: string;
  /**
   * Where it was resolved to on the submitting side; the folder to resolve it from, ending in `/`;
   * or ''.
   */
  url: string;
}

type Reference = (value: object) => number | undefined;

const FEW = 8;

/** Writes one value at a time; `reset` before each. */
export class Encoder {
  readonly out = new Writer();
  plain = true;
  frames: Uint8Array[] = [];
  modules: ModuleRef[] = [];
  /** Innermost last; the first is the whole value. */
  places: Place[] = [];
  reference: Reference | undefined;
  hooks: EncodeHooks | undefined;
  /** State of the capture that works with this encoder, kept for one value. */
  capture: unknown;
  private readonly few: object[] = [];
  private many: Map<object, number> | undefined;
  private counted = 0;
  private depth = 0;

  reset(reference: Reference | undefined, hooks: EncodeHooks | undefined): void {
    this.clear();
    this.out.reset();
    this.plain = true;
    this.reference = reference;
    this.hooks = hooks;
    this.counted = 0;
    this.depth = 0;
  }

  /** Lets go of what was written: an encoder that is kept must not keep the user's values alive. */
  clear(): void {
    this.reference = undefined;
    this.hooks = undefined;
    this.capture = undefined;
    this.few.length = 0;
    this.many = undefined;
    if (this.frames.length > 0) this.frames = [];
    if (this.modules.length > 0) this.modules = [];
    if (this.places.length > 0) this.places = [];
  }

  encode(value: unknown): void {
    switch (typeof value) {
      case 'number':
        return this.out.number(value);
      case 'string':
        return this.string(value);
      case 'boolean':
        return this.out.byte(value ? 0xc3 : 0xc2);
      case 'object':
        return value === null ? this.out.byte(0xc0) : this.object(value);
      case 'undefined':
        return this.leaf(Tag.undefined, EMPTY);
      case 'bigint':
        return this.bigint(value);
      case 'function':
        return this.callable(value);
      case 'symbol':
        return this.symbol(value);
    }
  }

  /** Starts a counted object: true, with a reference written, when it has come before. */
  again(value: object): boolean {
    const earlier = this.ordinal(value);
    if (earlier >= 0) {
      this.plain = false;
      this.out.extensionU32(Tag.ref, earlier);
      return true;
    }
    return false;
  }

  private ordinal(value: object): number {
    if (this.many !== undefined) {
      const earlier = this.many.get(value);
      if (earlier !== undefined) return earlier;
      this.many.set(value, this.counted++);
      return -1;
    }
    const { few } = this;
    for (let i = 0; i < this.counted; i++) if (few[i] === value) return i;
    few[this.counted++] = value;
    if (this.counted === FEW) this.many = new Map(few.map((object, i) => [object, i]));
    return -1;
  }

  /** Opens a js extension; `close` what it returns. */
  open(tag: number): number {
    this.plain = false;
    return this.out.openExtension(tag);
  }

  close(start: number): void {
    this.out.closeExtension(start);
  }

  enter(value: unknown): void {
    if (++this.depth > MAX_DEPTH) {
      throw new Refusal(
        value,
        `something nested more than ${MAX_DEPTH} levels deep`,
        'Send it flatter: a long linked list, for instance, as an array.'
      );
    }
  }

  leave(): void {
    this.depth--;
  }

  private leaf(tag: number, content: Uint8Array): void {
    const start = this.open(tag);
    this.out.raw(content);
    this.close(start);
  }

  string(text: string): void {
    if (this.out.string(text)) return;
    const units = new Uint8Array(text.length * 2);
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      units[i * 2] = code >>> 8;
      units[i * 2 + 1] = code & 0xff;
    }
    this.leaf(Tag.string16, units);
  }

  private bigint(value: bigint): void {
    let digits = (value < 0n ? -value : value).toString(16);
    if (digits.length % 2 === 1) digits = `0${digits}`;
    const content = new Uint8Array(1 + digits.length / 2);
    content[0] = value < 0n ? 1 : 0;
    for (let i = 0; i < digits.length; i += 2) {
      content[1 + i / 2] = Number.parseInt(digits.slice(i, i + 2), 16);
    }
    this.leaf(Tag.bigint, content);
  }

  private symbol(value: symbol): void {
    const key = Symbol.keyFor(value);
    const text = key === undefined ? WELL_KNOWN.get(value) : `:${key}`;
    if (text === undefined) {
      throw new Refusal(
        value,
        'a Symbol',
        'It is unique to its process: use Symbol.for(name), which is the same everywhere, or a string.'
      );
    }
    const start = this.open(Tag.symbol);
    this.string(text);
    this.close(start);
  }

  private callable(fn: Function): void {
    if (this.hooks === undefined) {
      throw new Refusal(fn, `function ${fn.name}`, 'Call it inside the task instead.');
    }
    this.hooks.callable(this, fn);
  }

  private object(value: object): void {
    if (Array.isArray(value)) {
      const prototype = Object.getPrototypeOf(value) as object;
      if (prototype === Array.prototype) this.array(value);
      else this.unusualArray(value);
      return;
    }
    if (this.reference !== undefined) {
      const index = this.reference(value);
      if (index !== undefined) {
        this.plain = false;
        return this.out.extensionU32(Tag.dependency, index);
      }
    }
    const kind = kindOf(value);
    if (kind === 'object') return this.plainObject(value as Record<string, unknown>);
    if (kind === 'refused') throw refuseHost(value, classNameOf(value));
    if (kind === 'instance') return this.instance(value);
    if (this.again(value)) return;
    WRITERS[kind](this, value);
  }

  private unusualArray(value: unknown[]): void {
    if (types.isProxy(value)) throw refuseHost(value, 'Proxy');
    const constructor = (value as { constructor?: unknown }).constructor;
    if (typeof constructor === 'function' && constructor.name === 'Array') this.array(value);
    else this.instance(value);
  }

  private instance(value: object): void {
    if (this.hooks === undefined) throw refuseHost(value, classNameOf(value));
    this.hooks.instance(this, value);
  }

  array(value: readonly unknown[]): void {
    const { length } = value;
    if (length <= SMALL ? Object.keys(value).length > length : 'index' in value || 'raw' in value) {
      return this.sparse(value);
    }
    if (length > MANY && mostlyHoles(value)) return this.sparse(value);
    if (types.isProxy(value)) throw refuseHost(value, 'Proxy');
    if (this.again(value)) return;
    this.enter(value);
    this.out.array(length);
    for (let i = 0; i < length; i++) {
      const item = value[i];
      if (item === undefined && !(i in value)) this.leaf(Tag.hole, EMPTY);
      else this.encode(item);
    }
    this.leave();
  }

  private sparse(value: readonly unknown[]): void {
    if (types.isProxy(value)) throw refuseHost(value, 'Proxy');
    if (this.again(value)) return;
    this.enter(value);
    const start = this.open(Tag.sparse);
    const keys = Object.keys(value);
    this.out.number(value.length);
    this.out.number(keys.length);
    for (const key of keys) {
      const index = Number(key);
      if (String(index) === key && index < value.length) this.out.number(index);
      else this.string(key);
      this.encode((value as unknown as Record<string, unknown>)[key]);
    }
    this.close(start);
    this.leave();
  }

  private plainObject(value: Record<string, unknown>): void {
    if (this.again(value)) return;
    const keys = Object.keys(value);
    if (keys.includes('__proto__')) {
      const start = this.open(Tag.protoObject);
      this.entries(value, keys);
      return this.close(start);
    }
    this.enter(value);
    this.out.map(keys.length);
    for (const key of keys) {
      if (!this.out.string(key)) this.string(key);
      this.encode(value[key]);
    }
    this.leave();
  }

  /** A count, then properties and their values. */
  entries(value: object, keys: readonly string[]): void {
    this.enter(value);
    this.out.number(keys.length);
    for (const key of keys) {
      this.string(key);
      this.encode((value as Record<string, unknown>)[key]);
    }
    this.leave();
  }

  mapEntries(value: ReadonlyMap<unknown, unknown>): void {
    this.enter(value);
    this.out.number(value.size);
    for (const [key, item] of value) {
      this.encode(key);
      this.encode(item);
    }
    this.leave();
  }

  setMembers(value: ReadonlySet<unknown>): void {
    this.enter(value);
    this.out.number(value.size);
    for (const item of value) this.encode(item);
    this.leave();
  }

  /** An error's properties: the hidden ones that matter, then its own enumerable ones. */
  errorEntries(value: object): void {
    const hidden = HIDDEN_ERROR_FIELDS.filter(name => Object.hasOwn(value, name));
    const keys = Object.keys(value).filter(name => !hidden.includes(name));
    this.entries(value, [...hidden, ...keys]);
  }

  binary(value: ArrayBufferView | ArrayBufferLike): void {
    const view = ArrayBuffer.isView(value);
    const buffer = view ? value.buffer : value;
    if ((buffer as { detached?: boolean }).detached === true) {
      throw new Refusal(
        value,
        'a detached ArrayBuffer',
        'Its memory was transferred elsewhere: send a copy made before the transfer.'
      );
    }
    const bytes = view
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value);
    const kind = binaryKind(value);
    if (kind === PLAIN_BYTES) return this.out.binary(bytes);
    if (bytes.length < OUT_OF_BAND_MIN_BYTES) {
      const start = this.open(Tag.bytes);
      this.out.byte(kind);
      this.out.raw(bytes);
      return this.close(start);
    }
    const start = this.open(Tag.frame);
    this.out.byte(kind);
    this.frames.push(new Uint8Array(bytes));
    this.out.u32(this.frames.length);
    this.close(start);
  }
}

/** Symbol.iterator and its like, by name. */
const WELL_KNOWN = new Map(
  Object.getOwnPropertyNames(Symbol)
    .map(name => [(Symbol as unknown as Record<string, unknown>)[name], `@@${name}`] as const)
    .filter((entry): entry is readonly [symbol, `@@${string}`] => typeof entry[0] === 'symbol')
);

const EMPTY = new Uint8Array(0);
/** Arrays up to this length are asked for named properties; longer ones only for those of a match. */
const SMALL = 16;
const MANY = 0xffff;
const HIDDEN_ERROR_FIELDS = ['message', 'stack', 'cause', 'errors'];
const PLAIN_BYTES = BINARY_KINDS.indexOf('Uint8Array');

/** Whether an array is so sparse (by a sample) that its indices are worth writing. */
function mostlyHoles(value: readonly unknown[]): boolean {
  const stride = Math.floor(value.length / 64);
  let holes = 0;
  for (let i = 1; i < value.length; i += stride) if (!(i in value)) holes++;
  return holes > 32;
}

function binaryKind(value: object): number {
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  const buffer =
    tag === 'Uint8Array' && (value as { constructor: unknown }).constructor === NodeBuffer;
  const kind = BINARY_KINDS.indexOf((buffer ? 'Buffer' : tag) as 'Buffer');
  if (kind < 0) throw refuseHost(value, tag);
  return kind;
}

const NodeBuffer = (globalThis as { Buffer?: unknown }).Buffer ?? 'no Buffer here';

type Writers = Record<
  Exclude<Kind, 'object' | 'refused' | 'instance'>,
  (encoder: Encoder, value: object) => void
>;

/** One extension around what `write` writes. */
function extension(tag: number, write: (encoder: Encoder, value: never) => void) {
  return (encoder: Encoder, value: object): void => {
    const start = encoder.open(tag);
    write(encoder, value as never);
    encoder.close(start);
  };
}

const WRITERS: Writers = {
  binary: (encoder, value) => encoder.binary(value as ArrayBufferView | ArrayBuffer),
  'null-object': extension(Tag.nullObject, (encoder, value: object) =>
    encoder.entries(value, Object.keys(value))
  ),
  map: extension(Tag.map, (encoder, value: Map<unknown, unknown>) => encoder.mapEntries(value)),
  set: extension(Tag.set, (encoder, value: Set<unknown>) => encoder.setMembers(value)),
  date: extension(Tag.date, (encoder, value: Date) => encoder.out.float(value.getTime())),
  regexp: extension(Tag.regexp, (encoder, value: RegExp) => {
    encoder.string(value.source);
    encoder.string(value.flags);
    encoder.out.number(value.lastIndex);
  }),
  error: extension(Tag.error, (encoder, value: object) => {
    encoder.string(errorClassName(value));
    encoder.errorEntries(value);
  }),
  url: extension(Tag.url, (encoder, value: { href: string }) => encoder.string(value.href)),
  'url-params': extension(Tag.urlParams, (encoder, value: object) =>
    encoder.string((value as { toString(): string }).toString())
  ),
  boxed: extension(Tag.boxed, (encoder, value: object) => encoder.encode(value.valueOf())),
  temporal: extension(Tag.temporal, (encoder, value: { constructor: Function }) => {
    encoder.string(value.constructor.name);
    encoder.string(String(value));
  })
};
