/**
 * How functions, classes and instances of users' classes are written into a value's graph.
 *
 * Finding out what each free name stands for is `names → values` here (`resolveNames`); where the
 * values come from is scopes.ts (any function, by the inspector) or, in a notebook on Deno, the
 * global scope read at once, checked afterwards.
 */
import { types } from 'node:util';
import { createHash } from 'node:crypto';
import { analyze } from './analyze.ts';
import type { Analysis, FreeName } from './analyze.ts';
import { Encoder } from './encode.ts';
import type { EncodeHooks } from './encode.ts';
import { globalPathOf, isSharedGlobal, isSharedValue } from './globals.ts';
import {
  builtinExport,
  commonExport,
  importedHere,
  importsOf,
  packageExport,
  recordedExport
} from './modules.ts';
import type { Imported } from './modules.ts';
import { classNameOf, isNativeFunction, ownConstructor } from './natives.ts';
import { orderNames, origins, registerClass } from './provenance.ts';
import type { Blueprint, Location } from './provenance.ts';
import { Refusal, refuseHost } from './refusal.ts';
import { inDeno, surroundings } from './scopes.ts';
import type { Level, Surroundings } from './scopes.ts';
import { Tag } from './tags.ts';

/** What one capture knows while it writes. */
export interface CaptureState {
  /** Surroundings found so far, by function; kept from pass to pass. */
  found: Map<Function, Surroundings>;
  /** Variables of modules and notebooks already read in this capture, by script. */
  modules: Map<string, Level>;
  /** Functions whose names were read from the global scope without a check (Deno). */
  unchecked: Function[];
  /** The first name that could not be found among them. */
  missing: unknown;
  sources: Map<string, number>;
  locations: Location[];
  /** Whether anything captured could change before the next call. */
  captured: boolean;
  /** Who uses and who assigns each variable, to refuse state shared by two functions. */
  shared: Map<string, { users: Set<string>; writers: Set<string>; value: unknown }>;
  digesting: boolean;
}

/** A fresh state; `found` may come from an earlier pass. */
export function newState(found = new Map<Function, Surroundings>()): CaptureState {
  return {
    found,
    modules: new Map(),
    unchecked: [],
    missing: undefined,
    sources: new Map(),
    locations: [],
    captured: false,
    shared: new Map(),
    digesting: false
  };
}

/** The encoder's hooks for code. */
export const captureHooks: EncodeHooks = { callable: writeCallable, instance: writeInstance };

function stateOf(encoder: Encoder): CaptureState {
  encoder.capture ??= newState();
  return encoder.capture as CaptureState;
}

/** What a function is called in messages. */
export function describe(fn: Function): string {
  const kind = /^class\b/.test(Function.prototype.toString.call(fn)) ? 'class' : 'function';
  return fn.name === '' ? `an unnamed ${kind}` : `${kind} ${fn.name}`;
}

function refuse(fn: Function, what: string, remedy: string): Refusal {
  return new Refusal(fn, `${describe(fn)} (${what})`, remedy);
}

function writeCallable(encoder: Encoder, fn: Function): void {
  if (types.isProxy(fn)) throw refuseHost(fn, 'Proxy');
  if (writeShared(encoder, fn)) return;
  if (encoder.again(fn)) return;
  const origin = origins.get(fn);
  if (origin !== undefined) {
    const values = origin.values();
    const entries = origin.blueprint.names.map((name, i) => [name, values[i]] as const);
    return writeClosure(encoder, fn, origin.blueprint, entries, origin.digest);
  }
  if (isNativeFunction(fn)) throw refuseNative(fn);
  const analysis = analysisOf(fn);
  const installed = inDeno || !needsLook(analysis) ? undefined : installedExport(encoder, fn);
  if (installed !== undefined) return writeImported(encoder, installed);
  const { blueprint, entries } = resolveNames(encoder, fn, analysis);
  const digest = blueprint.isClass ? digestOf(encoder, fn) : '';
  writeClosure(encoder, fn, blueprint, entries, digest);
}

/** A function of an installed package travels as an import; one of the runtime's own cannot. */
function installedExport(encoder: Encoder, fn: Function): Imported | undefined {
  const look = lookAround(stateOf(encoder), fn);
  const url = look === undefined ? '' : importsOf(look.scriptId).url;
  if (/^(node|ext):/.test(url)) {
    const remedy = 'Send a function of your own that calls it.';
    throw refuse(fn, "part of the runtime's own code that no module exports", remedy);
  }
  return packageExport(fn, url);
}

function refuseNative(fn: Function): Refusal {
  if (fn.name.startsWith('bound ')) {
    const remedy = 'Send a function that makes the call: (...args) => object.method(...args).';
    return refuse(fn, 'made by .bind(), which hides what it is bound to', remedy);
  }
  const remedy = 'Send a function that calls it: (...args) => theNativeFunction(...args).';
  return refuse(fn, 'native code that no module exports', remedy);
}

/** Things that the other side has as well: globals, and exports of installed modules. */
function writeShared(encoder: Encoder, value: object): boolean {
  const path = globalPathOf(value);
  if (path !== undefined) {
    if (encoder.again(value)) return true;
    const start = encoder.open(Tag.global);
    encoder.string(path);
    encoder.close(start);
    return true;
  }
  const imported = importedHere.get(value) ?? builtinExport(value) ?? recordedExport(value);
  if (imported === undefined) return false;
  if (!encoder.again(value)) writeImported(encoder, imported);
  return true;
}

function writeImported(encoder: Encoder, imported: Imported): void {
  const { specifier, url } = imported.module;
  let index = encoder.modules.findIndex(item => item.specifier === specifier && item.url === url);
  if (index < 0) index = encoder.modules.push(imported.module) - 1;
  const start = encoder.open(Tag.imported);
  encoder.out.number(index);
  encoder.string(imported.path);
  encoder.close(start);
}

function analysisOf(fn: Function): Analysis {
  let analysis: Analysis;
  try {
    analysis = analyze(Function.prototype.toString.call(fn));
  } catch (error) {
    const why = `its source cannot be read as a module's code: ${(error as Error).message}`;
    throw refuse(fn, why, 'Write it as a plain function, in strict mode.');
  }
  if (analysis.obstacle !== undefined) {
    const [what, remedy] = analysis.obstacle.split('; ', 2) as [string, string];
    throw refuse(fn, what, `${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`);
  }
  return analysis;
}

type Entry = readonly [name: string, value: unknown];

/** A captured name that is an import by its declaration, whatever its value is. */
class ImportedName {
  readonly imported: Imported;
  constructor(imported: Imported) {
    this.imported = imported;
  }
}

interface Resolved {
  blueprint: Blueprint;
  entries: Entry[];
}

function resolveNames(encoder: Encoder, fn: Function, analysis: Analysis): Resolved {
  const state = stateOf(encoder);
  const look = needsLook(analysis) ? lookAround(state, fn) : undefined;
  const values = new Map<string, unknown>();
  const captured: FreeName[] = [];
  for (const free of analysis.free) {
    const value = valueOf(state, fn, free, look);
    if (value === ABSENT) continue;
    values.set(free.name, value);
    captured.push(free);
  }
  if (analysis.selfName !== undefined) checkSelf(state, fn, analysis.selfName, look);
  const { names, early, assigned } = orderNames(captured);
  const location = locationOf(fn, look);
  const metaUrl = analysis.usesMeta ? location.url : '';
  if (analysis.usesMeta && metaUrl === '') {
    throw refuse(
      fn,
      'it uses import.meta where no module is known',
      'Copy what it needs from import.meta into a const first.'
    );
  }
  const blueprint: Blueprint = {
    isClass: analysis.kind === 'class',
    name: fn.name,
    expression: analysis.expression,
    prefix: analysis.prefix,
    metaUrl,
    names,
    early,
    assigned,
    privateMembers: analysis.privateMembers,
    location
  };
  return { blueprint, entries: names.map(name => [name, values.get(name)] as const) };
}

function needsLook(analysis: Analysis): boolean {
  return analysis.free.length > 0 || analysis.usesMeta || analysis.selfName !== undefined;
}

/** Functions whose only surrounding scope is their module, seen before: one read serves them all. */
const flat = new WeakMap<Function, Omit<Surroundings, 'levels'>>();
/** Functions known to see nothing but the global scope (Deno). */
const global = new WeakSet<Function>();

function lookAround(state: CaptureState, fn: Function): Surroundings | undefined {
  const known = state.found.get(fn);
  if (known !== undefined) return known;
  if (inDeno) {
    if (!global.has(fn)) state.unchecked.push(fn);
    return undefined;
  }
  const at = flat.get(fn);
  const level = at === undefined ? undefined : state.modules.get(at.scriptId);
  if (at !== undefined && level !== undefined) return { ...at, levels: [level] };
  const look = surroundings(fn);
  if (look.levels.length === 1 && look.levels[0]!.description === 'Module') {
    const { scriptId, line, column } = look;
    flat.set(fn, { scriptId, line, column });
    state.modules.set(scriptId, look.levels[0]!);
  }
  state.found.set(fn, look);
  return look;
}

/** Notes what an asynchronous look found: surroundings, or that there is nothing but the globals. */
export function noteSurroundings(state: CaptureState, fn: Function, look: Surroundings): boolean {
  const enclosed = look.levels.filter(level => level.description !== 'Script');
  if (enclosed.length === 0) {
    global.add(fn);
    return false;
  }
  state.found.set(fn, look);
  return true;
}

const ABSENT = Symbol('absent');

function valueOf(
  state: CaptureState,
  fn: Function,
  free: FreeName,
  look: Surroundings | undefined
): unknown {
  const { name } = free;
  if (name === 'Deno' && !free.guarded && inDeno) throw unknownName(fn, name);
  const level = look?.levels.findIndex(item => Object.hasOwn(item.object, name)) ?? -1;
  if (look !== undefined && level >= 0) {
    const value = readLevel(fn, look.levels[level]!, name);
    return found(state, fn, free, value, `${look.scriptId}:${look.levels.length - level}`, look);
  }
  const read = inDeno ? readGlobal(name) : ABSENT;
  if (read !== ABSENT && !isSharedValue(name, read)) {
    return found(state, fn, free, read, 'cell', undefined);
  }
  if (isSharedGlobal(name)) return ABSENT;
  if (name in globalThis) {
    const value = (globalThis as unknown as Record<string, unknown>)[name];
    return found(state, fn, free, value, 'global', undefined);
  }
  if (free.guarded) return ABSENT;
  const refusal = unknownName(fn, name);
  if (look === undefined && inDeno && !global.has(fn)) {
    // It may belong to a function around this one: the check that follows will tell.
    state.missing ??= refusal;
    return undefined;
  }
  throw refusal;
}

function readLevel(fn: Function, level: Level, name: string): unknown {
  try {
    return level.object[name];
  } catch {
    const remedy = `Move the declaration of \`${name}\` before the call.`;
    throw refuse(fn, `it uses \`${name}\`, which has no value yet`, remedy);
  }
}

function unknownName(fn: Function, name: string): Refusal {
  if (name === 'Deno') {
    return refuse(
      fn,
      'it uses Deno, which only the notebook has',
      "Workers run on Node: import what it needs from 'node:fs/promises' and its like."
    );
  }
  const remedy =
    `Define \`${name}\` before the call, import it, or pass it to the function as an argument; ` +
    `if a worker alone has it, guard its use with typeof ${name}.`;
  return refuse(fn, `it uses \`${name}\`, which is defined nowhere it can see`, remedy);
}

function found(
  state: CaptureState,
  fn: Function,
  free: FreeName,
  value: unknown,
  home: string,
  look: Surroundings | undefined
): unknown {
  const imported =
    look === undefined ? undefined : importsOf(look.scriptId).bindings.get(free.name);
  if (imported !== undefined && home.endsWith(':1')) return new ImportedName(imported);
  state.captured = true;
  noteUse(state, fn, free, value, `${home}:${free.name}`);
  if (isNamespace(value)) return namespaceValue(value, free.members);
  return value;
}

/** A module's namespace, or what a bundler or test runner puts in its place. */
function isNamespace(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  return Object.prototype.toString.call(value) === '[object Module]';
}

/** The user's own module as an object: only the members in use, where that can be told. */
function namespaceValue(namespace: object, members: ReadonlySet<string> | undefined): object {
  if (recordedExport(namespace) !== undefined || importedHere.has(namespace)) return namespace;
  const object = Object.create(null) as Record<string, unknown>;
  for (const name of members ?? Object.keys(namespace)) {
    if (name in namespace) object[name] = (namespace as Record<string, unknown>)[name];
  }
  return object;
}

/** Copies of one variable would drift apart: refused where one function assigns what another uses. */
function noteUse(
  state: CaptureState,
  fn: Function,
  free: FreeName,
  value: unknown,
  variable: string
): void {
  let use = state.shared.get(variable);
  if (use === undefined || !Object.is(use.value, value)) {
    use = { users: new Set(), writers: new Set(), value };
    state.shared.set(variable, use);
  }
  const who = describe(fn);
  use.users.add(who);
  if (free.assigned) use.writers.add(who);
  if (use.writers.size === 0 || use.users.size < 2) return;
  const [writer] = use.writers;
  const other = [...use.users].find(user => user !== writer)!;
  throw refuse(
    fn,
    `its variable \`${free.name}\` is assigned by ${writer!} and used by ${other} too, and copies would drift apart`,
    `Keep it in an object that both share: const state = { ${free.name}: … }.`
  );
}

const readers = new Map<string, () => unknown>();

/** A name of the notebook's global scope, as its cells see it. */
function readGlobal(name: string): unknown {
  let reader = readers.get(name);
  if (reader === undefined) {
    reader = (0, eval)(`() => ${name}`) as () => unknown;
    readers.set(name, reader);
  }
  try {
    return reader();
  } catch {
    return ABSENT;
  }
}

/** A function that calls itself by name must mean itself, not what the name stands for by now. */
function checkSelf(
  state: CaptureState,
  fn: Function,
  name: string,
  look: Surroundings | undefined
): void {
  const level = look?.levels.find(item => Object.hasOwn(item.object, name));
  let outer: unknown = ABSENT;
  if (level !== undefined) outer = readLevel(fn, level, name);
  else if (inDeno && (look === undefined || state.found.has(fn))) outer = readGlobal(name);
  if (outer === ABSENT || outer === fn || outer === undefined) return;
  throw refuse(
    fn,
    `it calls itself as \`${name}\`, but \`${name}\` now stands for something else, so that one of the two could be meant`,
    'Give the inner function a name of its own.'
  );
}

function locationOf(fn: Function, look: Surroundings | undefined): Location {
  if (look === undefined || inDeno) return { url: '', line: 0, column: 0 };
  const source = Function.prototype.toString.call(fn);
  const head = /^(?:async\s+)?function\b[^(\n]*|^[\w$*\s]*(?=\()/.exec(source)?.[0] ?? '';
  return {
    url: importsOf(look.scriptId).url,
    line: look.line,
    column: Math.max(0, look.column - (/^class\b/.test(source) ? 0 : head.length))
  };
}

function writeClosure(
  encoder: Encoder,
  fn: Function,
  blueprint: Blueprint,
  entries: readonly Entry[],
  digest: string
): void {
  const state = stateOf(encoder);
  encoder.enter(fn);
  const start = encoder.open(Tag.closure);
  const { out } = encoder;
  out.number((blueprint.isClass ? 1 : 0) | (blueprint.privateMembers ? 2 : 0));
  encoder.string(blueprint.name);
  writeSource(encoder, state, blueprint);
  encoder.string(blueprint.metaUrl);
  encoder.string(digest);
  out.number(blueprint.early);
  encoder.string(blueprint.assigned.join(' '));
  encoder.string(blueprint.names.join(' '));
  for (const [name, value] of entries) {
    encoder.places.push({ label: name, root: value, note: `captured by ${describe(fn)}` });
    writeCaptured(encoder, value);
    encoder.places.pop();
  }
  writeProperties(encoder, fn);
  encoder.close(start);
  encoder.leave();
}

function writeSource(encoder: Encoder, state: CaptureState, blueprint: Blueprint): void {
  const key = `${blueprint.prefix}:${blueprint.expression}`;
  const known = state.sources.get(key);
  if (known !== undefined) return encoder.out.number(known);
  state.sources.set(key, state.sources.size);
  state.locations.push(blueprint.location);
  encoder.string(blueprint.expression);
  encoder.out.number(blueprint.prefix);
}

function writeCaptured(encoder: Encoder, value: unknown): void {
  if (value instanceof ImportedName) {
    // Counted like any object, under a key of its own: the same import may be named twice.
    if (!encoder.again(value)) writeImported(encoder, value.imported);
    return;
  }
  if (typeof value === 'function' && isRequire(value)) {
    if (encoder.again(value)) return;
    return encoder.close(encoder.open(Tag.require));
  }
  if (typeof value === 'object' && value !== null) {
    if (writeShared(encoder, value)) return;
    const common = looksLikeModule(value) ? commonExport(value) : undefined;
    if (common !== undefined) {
      if (!encoder.again(value)) writeImported(encoder, common);
      return;
    }
  }
  encoder.encode(value);
}

/** Worth looking for among loaded CommonJS modules: an object with functions in it. */
function looksLikeModule(value: object): boolean {
  if (inDeno || types.isProxy(value) || Object.getPrototypeOf(value) !== Object.prototype)
    return false;
  return Object.values(value).some(item => typeof item === 'function');
}

function isRequire(value: Function): boolean {
  return value.name === 'require' && 'resolve' in value && 'cache' in value;
}

/** Own properties: static fields of a class, marks put on a function, old-style prototypes. */
function writeProperties(encoder: Encoder, fn: Function): void {
  const keys = Object.keys(fn);
  if (keys.length > 0) stateOf(encoder).captured = true;
  encoder.entries(fn, keys);
  const prototype = Object.getOwnPropertyDescriptor(fn, 'prototype')?.value as object | undefined;
  const usable = typeof prototype === 'object' && prototype !== null;
  const added = usable && !types.isGeneratorFunction(fn) ? Object.keys(prototype) : [];
  encoder.entries(added.length > 0 ? prototype! : {}, added);
}

/** A class by all it is made of, the same in every process that has it. */
function digestOf(encoder: Encoder, type: Function): string {
  const state = stateOf(encoder);
  if (state.digesting) return '';
  const inner = new Encoder();
  inner.reset(encoder.reference, captureHooks);
  // Shared, so that a refusal inside names the innermost variable.
  inner.places = encoder.places;
  inner.capture = { ...newState(state.found), modules: state.modules, digesting: true };
  inner.encode(type);
  const { unchecked, missing } = inner.capture as CaptureState;
  state.unchecked.push(...unchecked);
  state.missing ??= missing;
  const hash = createHash('sha256').update(inner.out.finish());
  for (const frame of inner.frames) hash.update(frame);
  const digest = hash.digest('hex').slice(0, 32);
  registerClass(digest, type);
  return digest;
}

/** An instance of a user's class: the class, and the instance's own enumerable fields. */
function writeInstance(encoder: Encoder, value: object): void {
  if (types.isModuleNamespaceObject(value)) {
    if (!writeShared(encoder, value)) encoder.encode(namespaceValue(value, undefined));
    return;
  }
  const { type, base } = classOfInstance(encoder, value);
  if (encoder.again(value)) return;
  encoder.enter(value);
  const start = encoder.open(Tag.instance);
  encoder.encode(type);
  encoder.string(base);
  if (base === 'Map') encoder.mapEntries(value as Map<unknown, unknown>);
  else if (base === 'Set') encoder.setMembers(value as Set<unknown>);
  else if (base === 'Array') encoder.out.number((value as unknown[]).length);
  if (base === 'Error') encoder.errorEntries(value);
  else encoder.entries(value, Object.keys(value));
  encoder.close(start);
  encoder.leave();
}

function classOfInstance(encoder: Encoder, value: object): { type: Function; base: string } {
  const prototype = Object.getPrototypeOf(value) as object;
  const type = ownConstructor(prototype);
  if (type === undefined) {
    throw new Refusal(
      value,
      'an object whose prototype belongs to no class',
      'Send a plain object with the fields it needs: { ...object }.'
    );
  }
  const base = baseOf(value);
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at) as object) {
    const constructor = ownConstructor(at);
    if (constructor === undefined || globalPathOf(constructor) !== undefined) continue;
    if (isNativeFunction(constructor)) throw refuseHost(value, classNameOf(value));
    checkClass(encoder, value, constructor, at === prototype);
  }
  return { type, base };
}

function baseOf(value: object): string {
  if (Array.isArray(value)) return 'Array';
  if (types.isMap(value)) return 'Map';
  if (types.isSet(value)) return 'Set';
  if (types.isNativeError(value)) return 'Error';
  const builtIn =
    ArrayBuffer.isView(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isPromise(value) ||
    types.isBoxedPrimitive(value);
  if (!builtIn) return 'Object';
  throw new Refusal(
    value,
    `an instance of ${classNameOf(value)}, a subclass of a built-in class`,
    'Send the built-in object it extends, and wrap it again inside the task.'
  );
}

function checkClass(encoder: Encoder, value: object, type: Function, direct: boolean): void {
  const imported = builtinExport(type);
  if (imported !== undefined) {
    if (type.name === 'EventEmitter' && !direct) return;
    throw refuseHost(value, classNameOf(value));
  }
  if (recordedExport(type) !== undefined || importedHere.has(type) || origins.has(type)) return;
  if (!inDeno && isHostClass(stateOf(encoder), type)) throw refuseHost(value, classNameOf(value));
  const { privateMembers } = analysisOf(type);
  if (!privateMembers) return;
  throw new Refusal(
    value,
    `an instance of ${type.name}, whose private members (#…) nobody outside the class can read,`,
    'Send the data it is made from and make the instance inside the task, or use ordinary fields.'
  );
}

const hostClasses = new WeakMap<Function, boolean>();

/** Whether a class is the runtime's own: written in a script of Node's. */
function isHostClass(state: CaptureState, type: Function): boolean {
  let host = hostClasses.get(type);
  if (host === undefined) {
    const look = state.found.get(type) ?? surroundings(type);
    host = /^(node|ext):/.test(importsOf(look.scriptId).url);
    hostClasses.set(type, host);
  }
  return host;
}
