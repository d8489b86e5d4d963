/**
 * Reads what encode.ts wrote.
 *
 * Values of the plain family go through msgpackr, whoever wrote them (Python included). The js
 * family has shared identities and cycles, so it is read here: each counted object is entered into
 * `objects` before its children are read.
 */
import { Unpackr } from 'msgpackr';
import { SerializationError } from '../base/errors.ts';
import { Reader } from './reader.ts';
import { BINARY_KINDS, Tag } from './tags.ts';
import { emptyError } from './natives.ts';
import type { ModuleRef } from './encode.ts';

/** What the rebuilding of functions adds to the decoder. */
export interface DecodeHooks {
  closure(decoder: Decoder): unknown;
  instance(decoder: Decoder): unknown;
  imported(decoder: Decoder, module: number, path: string): unknown;
  global(path: string): unknown;
  require(): unknown;
}

const plainReader = new Unpackr({
  useRecords: false,
  // 'auto' (a number where it is exact) is missing from the package's types.
  int64AsType: 'auto' as 'number'
});

/** The value of a head of the plain family. */
export function decodePlain(head: Uint8Array): unknown {
  try {
    return plainReader.unpack(head);
  } catch (cause) {
    return new Reader(head).fail(`msgpack says "${(cause as Error).message}"`);
  }
}

type Resolve = (index: number) => unknown;

/** Reads one value of the js family. */
export class Decoder {
  readonly in: Reader;
  readonly frames: readonly Uint8Array[];
  readonly objects: unknown[] = [];
  readonly resolve: Resolve | undefined;
  readonly hooks: DecodeHooks | undefined;
  modules: ModuleRef[] = [];
  /** Set when the value just read is a class still being made; see `later`. */
  private pending: number | undefined;
  private readonly fixes: (() => void)[] = [];

  constructor(frames: readonly Uint8Array[], resolve?: Resolve, hooks?: DecodeHooks) {
    this.in = new Reader(frames[0] ?? new Uint8Array(0));
    this.frames = frames;
    this.resolve = resolve;
    this.hooks = hooks;
  }

  decodeRoot(): unknown {
    const modules = readModules(this.in.bytes);
    if (modules !== undefined) {
      this.modules = modules;
      this.in.at = 6;
    }
    const value = this.decode();
    for (const fix of this.fixes) fix();
    return value;
  }

  /**
   * A class that needs other values at its definition is made after them; one of them may hold the
   * class itself. `put` is called once the class is there.
   */
  private later(put: (value: unknown) => void): void {
    const ordinal = this.pending!;
    this.pending = undefined;
    this.fixes.push(() => put(this.objects[ordinal]));
  }

  /** Reads a value and puts it in its place, now or, while it is being made, at the end. */
  place(put: (value: unknown) => void): void {
    const value = this.decode();
    if (this.pending === undefined) put(value);
    else this.later(put);
  }

  decode(): unknown {
    const code = this.in.byte();
    if (code < 0x80) return code;
    if (code < 0x90) return this.object(code & 0x0f);
    if (code < 0xa0) return this.array(code & 0x0f);
    if (code < 0xc0) return this.in.text(code & 0x1f);
    if (code >= 0xe0) return code - 0x100;
    return this.wide(code);
  }

  private wide(code: number): unknown {
    const reader = this.in;
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xcb:
        return reader.view.getFloat64(reader.take(8));
      case 0xcc:
        return reader.byte();
      case 0xcd:
        return reader.u16();
      case 0xce:
        return reader.u32();
      case 0xcf:
        return reader.u32() * 0x100000000 + reader.u32();
      case 0xd0:
        return reader.view.getInt8(reader.take(1));
      case 0xd2:
        return reader.view.getInt32(reader.take(4));
      case 0xd3:
        return reader.view.getInt32(reader.take(4)) * 0x100000000 + reader.u32();
      case 0xd6:
        return this.small(reader.byte());
      case 0xc9:
        return this.extension();
      default:
        return this.sized(code);
    }
  }

  private sized(code: number): unknown {
    const reader = this.in;
    switch (code) {
      case 0xc4:
        return this.count(reader.span(reader.byte()).slice());
      case 0xc5:
        return this.count(reader.span(reader.u16()).slice());
      case 0xc6:
        return this.count(reader.span(reader.u32()).slice());
      case 0xd9:
        return reader.text(reader.byte());
      case 0xda:
        return reader.text(reader.u16());
      case 0xdb:
        return reader.text(reader.u32());
      case 0xdc:
        return this.array(reader.u16());
      case 0xdd:
        return this.array(reader.u32());
      case 0xde:
        return this.object(reader.u16());
      case 0xdf:
        return this.object(reader.u32());
      default:
        return reader.fail(`unknown code 0x${code.toString(16)}`);
    }
  }

  /** Enters an object under the next ordinal. */
  count<T>(object: T): T {
    this.objects.push(object);
    return object;
  }

  /** A place for an object that can only be made after its children; fill `objects[it]`. */
  reserve(): number {
    return this.objects.push(undefined) - 1;
  }

  private array(length: number): unknown[] {
    if (length > this.in.bytes.length - this.in.at) this.in.fail(`an array of ${length} items`);
    const array = this.count(new Array<unknown>(length));
    for (let i = 0; i < length; i++) {
      const item = this.decode();
      if (this.pending !== undefined) this.later(value => (array[i] = value));
      else if (item !== HOLE) array[i] = item;
    }
    return array;
  }

  private object(size: number): Record<string, unknown> {
    const object = this.count<Record<string, unknown>>({});
    for (let i = 0; i < size; i++) {
      const key = this.key();
      object[key] = this.decode();
      if (this.pending !== undefined) this.later(value => (object[key] = value));
    }
    return object;
  }

  /** A property's name: nearly always short, and one of few. */
  private key(): string {
    const code = this.in.bytes[this.in.at]!;
    if (code < 0xa0 || code > 0xbf) return this.text();
    this.in.at++;
    return this.in.name(code & 0x1f);
  }

  text(): string {
    const text = this.decode();
    return typeof text === 'string' ? text : this.in.fail('a text is missing');
  }

  number(): number {
    const number = this.decode();
    return typeof number === 'number' ? number : this.in.fail('a number is missing');
  }

  /** Own properties written by `Encoder.entries`, defined one by one: none can reach a setter. */
  properties(target: object, hidden: readonly string[] = []): void {
    for (let left = this.number(); left > 0; left--) {
      const key = this.text();
      const enumerable = !hidden.includes(key);
      this.place(value => {
        const rest = { enumerable, writable: true, configurable: true };
        Object.defineProperty(target, key, { value, ...rest });
      });
    }
  }

  private small(tag: number): unknown {
    const value = this.in.u32();
    if (tag === Tag.ref) {
      if (value >= this.objects.length) this.in.fail(`reference ${value} to nothing`);
      const object = this.objects[value];
      if (object === undefined) this.pending = value;
      return object;
    }
    if (tag !== Tag.dependency) return this.in.fail(`unknown extension ${tag}`);
    if (this.resolve === undefined) {
      throw new SerializationError(
        `A value refers to dependency ${value} of its task, but none were given to read it with.`
      );
    }
    return this.resolve(value);
  }

  private extension(): unknown {
    const size = this.in.u32();
    const tag = this.in.byte();
    const start = this.in.at;
    const end = start + size;
    if (end > this.in.bytes.length) this.in.fail(`extension ${tag} of ${size} bytes`);
    const value = this.content(tag, size);
    if (this.in.at !== end) this.in.fail(`extension ${tag} ends elsewhere than it says`);
    return value;
  }

  private content(tag: number, size: number): unknown {
    switch (tag) {
      case Tag.undefined:
        return undefined;
      case Tag.hole:
        return HOLE;
      case Tag.bigint:
        return readBigint(this.in.span(size));
      case Tag.string16:
        return readString16(this.in.span(size));
      case Tag.symbol:
        return readSymbol(this.text());
      case Tag.bytes:
        return this.count(view(this.in.byte(), this.in.span(size - 1), true));
      case Tag.frame:
        return this.count(this.frame());
      case Tag.map:
        return this.map(this.count(new Map<unknown, unknown>()));
      case Tag.set:
        return this.set(this.count(new Set<unknown>()));
      case Tag.sparse:
        return this.sparse();
      default:
        return this.rare(tag);
    }
  }

  private rare(tag: number): unknown {
    switch (tag) {
      case Tag.date:
        return this.count(new Date(this.number()));
      case Tag.regexp:
        return this.regexp();
      case Tag.error:
        return this.error();
      case Tag.url:
        return this.count(new URL(this.text()));
      case Tag.urlParams:
        return this.count(new URLSearchParams(this.text()));
      case Tag.nullObject:
        return this.filled(this.count(Object.create(null) as object));
      case Tag.protoObject:
        return this.filled(this.count({}));
      case Tag.boxed: {
        const ordinal = this.reserve();
        return (this.objects[ordinal] = Object(this.decode()));
      }
      case Tag.temporal:
        return this.count(readTemporal(this.text(), this.text()));
      default:
        return this.code(tag);
    }
  }

  private code(tag: number): unknown {
    const { hooks } = this;
    if (hooks === undefined) return this.in.fail(`extension ${tag} is not expected here`);
    switch (tag) {
      case Tag.closure:
        return hooks.closure(this);
      case Tag.instance:
        return hooks.instance(this);
      case Tag.imported: {
        const ordinal = this.reserve();
        return (this.objects[ordinal] = hooks.imported(this, this.number(), this.text()));
      }
      case Tag.global:
        return this.count(hooks.global(this.text()));
      case Tag.require:
        return this.count(hooks.require());
      default:
        return this.in.fail(`unknown extension ${tag}`);
    }
  }

  private filled<T extends object>(target: T): T {
    this.properties(target);
    return target;
  }

  map(target: Map<unknown, unknown>): Map<unknown, unknown> {
    for (let left = this.number(); left > 0; left--) {
      const key = this.decode();
      Map.prototype.set.call(target, key, this.decode());
      if (this.pending !== undefined)
        this.later(value => Map.prototype.set.call(target, key, value));
    }
    return target;
  }

  set(target: Set<unknown>): Set<unknown> {
    for (let left = this.number(); left > 0; left--) Set.prototype.add.call(target, this.decode());
    return target;
  }

  private sparse(): unknown[] {
    const array = this.count<unknown[]>([]);
    array.length = this.number();
    for (let left = this.number(); left > 0; left--) {
      const key = this.decode() as number;
      array[key] = this.decode();
    }
    return array;
  }

  private regexp(): RegExp {
    const regexp = new RegExp(this.text(), this.text());
    regexp.lastIndex = this.number();
    return this.count(regexp);
  }

  private error(): Error {
    const error = this.count(emptyError(this.text()));
    this.properties(error, HIDDEN_ERROR_FIELDS);
    return error;
  }

  private frame(): unknown {
    const kind = this.in.byte();
    const index = this.in.u32();
    const bytes = this.frames[index];
    if (index === 0 || bytes === undefined) return this.in.fail(`frame ${index} is missing`);
    return view(kind, bytes, false);
  }
}

const HOLE = Symbol('hole');
/** Own properties of an error that `console.log` and `Object.keys` do not show. */
export const HIDDEN_ERROR_FIELDS: readonly string[] = ['message', 'stack', 'cause', 'errors'];

/** The modules a head of the js family imports; undefined when it imports none. */
export function readModules(head: Uint8Array): ModuleRef[] | undefined {
  if (head.length < 10 || head[0] !== 0xc9 || head[5] !== Tag.withModules) return undefined;
  const from = new DataView(head.buffer, head.byteOffset).getUint32(head.length - 4);
  const list = new Decoder([head]);
  list.in.at = from;
  const flat = list.decode();
  if (!Array.isArray(flat)) return list.in.fail('the list of modules is missing');
  const modules: ModuleRef[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) {
    modules.push({ specifier: String(flat[i]), url: String(flat[i + 1]) });
  }
  return modules;
}

function readBigint(content: Uint8Array): bigint {
  let digits = '0x0';
  for (let i = 1; i < content.length; i++) digits += content[i]!.toString(16).padStart(2, '0');
  return content[0] === 1 ? -BigInt(digits) : BigInt(digits);
}

function readSymbol(text: string): unknown {
  if (text.startsWith(':')) return Symbol.for(text.slice(1));
  return (Symbol as unknown as Record<string, unknown>)[text.slice(2)];
}

function readString16(content: Uint8Array): string {
  let text = '';
  for (let i = 0; i + 1 < content.length; i += 2) {
    text += String.fromCharCode((content[i]! << 8) | content[i + 1]!);
  }
  return text;
}

interface ViewType {
  new (buffer: ArrayBufferLike, offset: number, length: number): ArrayBufferView;
  BYTES_PER_ELEMENT?: number;
}

/**
 * The view, buffer or Buffer of that kind over these bytes. The bytes themselves are used, without a
 * copy, when they are a whole ArrayBuffer (so that `view.buffer` holds nothing else).
 */
function view(kind: number, bytes: Uint8Array, copy: boolean): object {
  const name = BINARY_KINDS[kind];
  const whole = bytes.byteLength === bytes.buffer.byteLength && !copy;
  const own = whole ? bytes : new Uint8Array(bytes);
  if (name === 'ArrayBuffer') return whole && shared(own) ? new Uint8Array(own).buffer : own.buffer;
  if (name === 'Buffer') return Buffer.from(own.buffer, 0, own.byteLength);
  const type = (globalThis as unknown as Record<string, ViewType | undefined>)[name ?? ''];
  if (type === undefined) {
    throw new SerializationError(
      `A value holds a ${name ?? `binary kind ${kind}`}, which this runtime (${process.version}) does not have. ` +
        `Run workers on the version the value comes from, or convert it before sending.`
    );
  }
  return new type(own.buffer, 0, own.byteLength / (type.BYTES_PER_ELEMENT ?? 1));
}

function shared(bytes: Uint8Array): boolean {
  return Object.prototype.toString.call(bytes.buffer) === '[object SharedArrayBuffer]';
}

function readTemporal(name: string, text: string): unknown {
  const types = (globalThis as { Temporal?: Record<string, { from(text: string): unknown }> })
    .Temporal;
  const type = types?.[name];
  if (type === undefined) {
    throw new SerializationError(
      `A value holds a Temporal.${name} (${text}), which this runtime (${process.version}) does not have. ` +
        `Send its text, or a Date.`
    );
  }
  return type.from(text);
}
