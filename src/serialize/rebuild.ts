/**
 * Makes a captured function again, on the side that runs it.
 *
 * A source is compiled once per text: the compiled wrapper declares the captured names, and gives
 * back how to make the function, how to set the names, and how to read them. Functions are made
 * before what they capture, so that recursion through any number of them needs no order; a class is
 * made after the names its definition needs.
 *
 * Imports are resolved from the worker's root first, then from where the submitting side found them.
 */
import { Script } from 'node:vm';
import { SerializationError, ProtocolError } from '../base/errors.ts';
import { IMPORT_NAME, META_NAME } from './analyze.ts';
import { Decoder, readModules } from './decode.ts';
import type { DecodeHooks } from './decode.ts';
import { followPath } from './globals.ts';
import { loadedModule, loadModule, loadModuleNow, dynamicImport, requireFrom } from './load.ts';
import { importedHere } from './modules.ts';
import { bareError } from './natives.ts';
import { classOf, origins, registerClass } from './provenance.ts';
import type { Blueprint, Location } from './provenance.ts';
import { unpackFrames } from './frames.ts';
import { Reader } from './reader.ts';

/** Where a function is rebuilt. */
export interface RebuildOptions {
  /** The directory imports are resolved from. */
  root: string;
  /** What stands for the blob's reference number `index`: a captured future's result. */
  resolve?: (index: number) => unknown;
}

/** Makes the callable again; a promise when modules have to be imported first. */
export function rebuildFunction(
  blob: Uint8Array,
  options: RebuildOptions
): Promise<Function> | Function {
  const { frames } = unpackFrames(blob);
  const waiting = loadImports(frames[0]!, options.root);
  const rebuild = (): Function => {
    const value = decodeWithCode(frames, options);
    if (typeof value === 'function') return value;
    throw new ProtocolError(
      'A task function arrived as something else. Both sides must run the same taskloom version.'
    );
  };
  return waiting === undefined ? rebuild() : waiting.then(rebuild);
}

/** Imports what a head needs; undefined when all of it is there already. */
export function loadImports(head: Uint8Array, root: string): Promise<void> | undefined {
  const missing = (readModules(head) ?? []).filter(
    module => loadedModule(module, root) === undefined
  );
  if (missing.length === 0) return undefined;
  return Promise.all(missing.map(module => loadModule(module, root))).then(() => undefined);
}

/** Reads a value of the js family that may hold functions and instances. */
export function decodeWithCode(frames: readonly Uint8Array[], options: RebuildOptions): unknown {
  return new Decoder(frames, options.resolve, new Rebuilder(frames, options.root)).decodeRoot();
}

interface Compiled {
  make(): Function;
  set(values: readonly unknown[]): void;
  get(): readonly unknown[];
}
type Factory = (dynamic: (specifier: string) => Promise<unknown>, meta: object) => Compiled;

class Rebuilder implements DecodeHooks {
  private readonly frames: readonly Uint8Array[];
  private readonly root: string;
  private readonly sources: { expression: string; prefix: number; location: Location }[] = [];
  private locations: readonly Location[] | undefined;

  constructor(frames: readonly Uint8Array[], root: string) {
    this.frames = frames;
    this.root = root;
  }

  closure(decoder: Decoder): unknown {
    const ordinal = decoder.reserve();
    const { blueprint, digest } = this.blueprint(decoder);
    const compiled = this.instantiate(blueprint);
    const values: unknown[] = new Array<unknown>(blueprint.names.length).fill(undefined);
    const read = (i: number): void =>
      decoder.place(value => {
        values[i] = value;
        compiled.set(values);
      });
    for (let i = 0; i < blueprint.early; i++) read(i);
    const known = digest === '' ? undefined : classOf(digest);
    const fn = known ?? compiled.make();
    decoder.objects[ordinal] = fn;
    if (known === undefined) this.adopt(fn, blueprint, compiled, digest);
    for (let i = blueprint.early; i < blueprint.names.length; i++) read(i);
    // A class this process has already keeps the state it has here.
    const target = known === undefined ? fn : {};
    decoder.properties(target);
    decoder.properties(((target as Function).prototype as object | undefined) ?? {});
    return fn;
  }

  private adopt(fn: Function, blueprint: Blueprint, compiled: Compiled, digest: string): void {
    if (fn.name !== blueprint.name) {
      Object.defineProperty(fn, 'name', { value: blueprint.name, configurable: true });
    }
    origins.set(fn, { blueprint, values: () => compiled.get(), digest });
    if (digest !== '') registerClass(digest, fn);
  }

  private blueprint(decoder: Decoder): { blueprint: Blueprint; digest: string } {
    const flags = decoder.number();
    const name = decoder.text();
    const source = this.source(decoder);
    const metaUrl = decoder.text();
    const digest = decoder.text();
    const early = decoder.number();
    const assigned = words(decoder.text());
    const names = words(decoder.text());
    const isClass = (flags & 1) !== 0;
    const privateMembers = (flags & 2) !== 0;
    return {
      blueprint: { isClass, name, ...source, metaUrl, names, early, assigned, privateMembers },
      digest
    };
  }

  private source(decoder: Decoder): Pick<Blueprint, 'expression' | 'prefix' | 'location'> {
    const first = decoder.decode();
    if (typeof first === 'number') {
      return this.sources[first] ?? decoder.in.fail(`source ${first} is missing`);
    }
    if (typeof first !== 'string') return decoder.in.fail('a source is missing');
    const prefix = decoder.number();
    this.locations ??= readLocations(this.frames);
    const location = this.locations[this.sources.length] ?? { url: '', line: 0, column: 0 };
    const source = { expression: first, prefix, location };
    this.sources.push(source);
    return source;
  }

  private instantiate(blueprint: Blueprint): Compiled {
    const from = blueprint.metaUrl || blueprint.location.url;
    const dynamic = dynamicImport(this.root, from);
    return compile(blueprint)(dynamic, metaOf(blueprint.metaUrl));
  }

  instance(decoder: Decoder): unknown {
    const ordinal = decoder.reserve();
    const type = decoder.decode();
    if (typeof type !== 'function') return decoder.in.fail('the class of an instance is missing');
    const base = decoder.text();
    const object = emptyInstance(type, base);
    decoder.objects[ordinal] = object;
    if (base === 'Map') decoder.map(object as Map<unknown, unknown>);
    else if (base === 'Set') decoder.set(object as Set<unknown>);
    else if (base === 'Array') (object as unknown[]).length = decoder.number();
    decoder.properties(object, base === 'Error' ? ['message', 'stack', 'cause', 'errors'] : []);
    return object;
  }

  imported(decoder: Decoder, index: number, path: string): unknown {
    const module = decoder.modules[index] ?? decoder.in.fail(`module ${index} is missing`);
    const namespace = loadedModule(module, this.root) ?? loadModuleNow(module, this.root);
    const value = followPath(namespace, path) ?? followPath(namespace.default, path);
    if (value === undefined && path !== '') {
      throw new SerializationError(
        `Module '${module.specifier}' has no export '${path}' on this worker. ` +
          `Install the version the function was written with.`
      );
    }
    if ((typeof value === 'object' && value !== null) || typeof value === 'function') {
      importedHere.set(value, { module, path });
    }
    return value;
  }

  global(path: string): unknown {
    const value = path === 'globalThis' ? globalThis : followPath(globalThis, path);
    if (value !== undefined) return value;
    throw new SerializationError(
      `${path} does not exist on this worker (${process.version}). Run workers on a newer Node.`
    );
  }

  require(): unknown {
    return requireFrom(this.root);
  }
}

function words(text: string): string[] {
  return text === '' ? [] : text.split(' ');
}

function readLocations(frames: readonly Uint8Array[]): Location[] {
  const flat = new Decoder([frames.at(-1)!]).decode();
  if (!Array.isArray(flat)) return new Reader(frames.at(-1)!).fail('the locations are missing');
  const locations: Location[] = [];
  for (let i = 0; i + 2 < flat.length; i += 3) {
    locations.push({
      url: String(flat[i]),
      line: Number(flat[i + 1]),
      column: Number(flat[i + 2])
    });
  }
  return locations;
}

const CACHE_LIMIT = 5000;
const factories = new Map<string, Factory>();

function compile(blueprint: Blueprint): Factory {
  const { expression, prefix, location, name } = blueprint;
  const names = blueprint.names.join(',');
  const key = `${names}\n${expression}`;
  const known = factories.get(key);
  if (known !== undefined) return known;
  const declared = names === '' ? '' : `let ${names};`;
  const set = names === '' ? '()=>{}' : `$=>{[${names}]=$}`;
  const head = `(function(${IMPORT_NAME},${META_NAME}){"use strict";${declared}return{set:${set},get:()=>[${names}],make:()=>`;
  const filename =
    location.url === '' ? `taskloom://${name === '' ? 'lambda' : name}` : location.url;
  const script = new Script(`${head}${expression}}})`, {
    filename,
    lineOffset: location.line,
    columnOffset: location.column - head.length - prefix
  });
  const factory = script.runInThisContext() as Factory;
  if (factories.size >= CACHE_LIMIT) factories.clear();
  factories.set(key, factory);
  return factory;
}

function metaOf(url: string): object {
  if (url === '') return {};
  const meta: Record<string, unknown> = { url, resolve: (s: string) => new URL(s, url).href };
  if (url.startsWith('file:')) {
    const path = decodeURIComponent(new URL(url).pathname);
    meta['filename'] = path;
    meta['dirname'] = path.slice(0, path.lastIndexOf('/'));
  }
  return meta;
}

function emptyInstance(type: Function, base: string): object {
  switch (base) {
    case 'Array':
      return Reflect.construct(Array, [], type) as object;
    case 'Map':
      return Reflect.construct(Map, [], type) as object;
    case 'Set':
      return Reflect.construct(Set, [], type) as object;
    case 'Error':
      return bareError(type);
    default:
      return Object.create(type.prototype as object) as object;
  }
}
