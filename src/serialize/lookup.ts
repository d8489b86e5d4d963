/**
 * What the names a function uses stand for: values of its surroundings, imports, or nothing that
 * needs to be sent. Innermost scope first; a name is never taken from the global scope while an
 * enclosing scope may hold it.
 */
import type { Analysis, FreeName } from './analyze.ts';
import { describe, refuse, stateOf } from './capture-state.ts';
import type { CaptureState } from './capture-state.ts';
import type { Encoder } from './encode.ts';
import { isSharedGlobal, isSharedValue } from './globals.ts';
import { importsOf, importedHere, recordedExport } from './modules.ts';
import type { Imported } from './modules.ts';
import { orderNames } from './provenance.ts';
import type { Blueprint, Location } from './provenance.ts';
import type { Refusal } from './refusal.ts';
import { inDeno, surroundings } from './scopes.ts';
import type { Level, Surroundings } from './scopes.ts';

/** A captured name and its value. */
export type Entry = readonly [name: string, value: unknown];

/** A captured name that is an import by its declaration, whatever its value is. */
export class ImportedName {
  readonly imported: Imported;
  constructor(imported: Imported) {
    this.imported = imported;
  }
}

interface Resolved {
  blueprint: Blueprint;
  entries: Entry[];
}

/** Finds what every free name of a function stands for, or refuses. */
export function resolveNames(encoder: Encoder, fn: Function, analysis: Analysis): Resolved {
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

/** Whether what surrounds a function matters to it. */
export function needsLook(analysis: Analysis): boolean {
  return analysis.free.length > 0 || analysis.usesMeta || analysis.selfName !== undefined;
}

/** Functions whose only surrounding scope is their module, seen before: one read serves them all. */
const flat = new WeakMap<Function, Omit<Surroundings, 'levels'>>();

/** Functions known to see nothing but the global scope (Deno). */
export const global = new WeakSet<Function>();

/** The surroundings of a function, at once; undefined where they can only be asked later. */
export function lookAround(state: CaptureState, fn: Function): Surroundings | undefined {
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
export function namespaceValue(
  namespace: object,
  members: ReadonlySet<string> | undefined
): object {
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
