/**
 * Where a value was imported from, so that the worker can import it too instead of receiving it.
 *
 * Sources of that knowledge: the import declarations of a function's own script (Node); the imports
 * a notebook kernel records under Symbol.for('taskloom.imports') (Deno); and identity with the
 * exports of Node's built-in modules and of CommonJS modules already loaded.
 *
 * A module of the user's own is never an import: its functions travel by source, because the worker
 * may run on a machine that has not got the file.
 */
import { createRequire, isBuiltin, builtinModules } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse } from 'acorn';
import { sharedTable } from '../base/task-context.ts';
import type { ModuleRef } from './encode.ts';
import { scriptOf, inDeno } from './scopes.ts';

/** One thing a module exports; path '' is the namespace itself. */
export interface Imported {
  module: ModuleRef;
  path: string;
}

/** A script of the user's: its address, and what its import declarations bind. */
export interface ScriptImports {
  url: string;
  bindings: ReadonlyMap<string, Imported>;
}

const scripts = new Map<string, ScriptImports>();

/** What the script a function is written in imports; only in Node. */
export function importsOf(scriptId: string): ScriptImports {
  let known = scripts.get(scriptId);
  if (known === undefined) {
    const { url, source } = scriptOf(scriptId);
    known = { url, bindings: bindingsOf(source, url) };
    scripts.set(scriptId, known);
  }
  return known;
}

interface Declaration {
  type: string;
  source?: { value: string };
  specifiers?: {
    type: string;
    local: { name: string };
    imported?: { name?: string; value?: string };
  }[];
}

function bindingsOf(source: string, url: string): Map<string, Imported> {
  const bindings = new Map<string, Imported>();
  if (!/\bimport\b/.test(source)) return bindings;
  let body: Declaration[];
  try {
    const program = parse(source, { ecmaVersion: 'latest', sourceType: 'module' });
    body = program.body as unknown as Declaration[];
  } catch {
    return bindings;
  }
  for (const declaration of body) {
    if (declaration.type !== 'ImportDeclaration') continue;
    const specifier = declaration.source?.value ?? '';
    const resolved = resolveFrom(specifier, url);
    if (isOwnModule(specifier, resolved)) continue;
    const module = { specifier, url: resolved };
    for (const item of declaration.specifiers ?? []) {
      bindings.set(item.local.name, { module, path: exportOf(item) });
    }
  }
  return bindings;
}

function exportOf(item: NonNullable<Declaration['specifiers']>[number]): string {
  if (item.type === 'ImportNamespaceSpecifier') return '';
  if (item.type === 'ImportDefaultSpecifier') return 'default';
  return item.imported?.name ?? item.imported?.value ?? 'default';
}

function resolveFrom(specifier: string, url: string): string {
  if (isBuiltin(specifier)) return specifier.startsWith('node:') ? specifier : `node:${specifier}`;
  if (/^[a-z][a-z+.-]*:/.test(specifier)) return specifier;
  try {
    if (/^[./]/.test(specifier)) return new URL(specifier, url).href;
    // A package: recorded is the folder that asks for it, for `import` to resolve from there.
    return url.startsWith('file:') ? new URL('.', url).href : '';
  } catch {
    return '';
  }
}

/** A file of the user's, neither built in nor an installed package. */
function isOwnModule(specifier: string, url: string): boolean {
  if (isBuiltin(specifier) || /^(npm|jsr|https?|node):/.test(specifier)) return false;
  if (specifier.startsWith('#')) return true;
  if (url.startsWith('file:')) {
    return (
      !url.includes('/node_modules/') && (/^[./]/.test(specifier) || specifier.startsWith('file:'))
    );
  }
  return /^[./]/.test(specifier);
}

/** What rebuild.ts has imported here: sent on, it is imported again. */
export const importedHere = sharedTable('imported', () => new WeakMap<object, Imported>());

let builtins = new Map<unknown, Imported>();
let builtinsLoaded = -1;

/** The built-in module export a value is, if any. */
export function builtinExport(value: object): Imported | undefined {
  const loaded = (process as { moduleLoadList?: string[] }).moduleLoadList;
  const count = loaded?.length ?? 0;
  if (count !== builtinsLoaded) {
    builtinsLoaded = count;
    const names = (loaded ?? [])
      .filter(name => name.startsWith('NativeModule '))
      .map(name => name.slice('NativeModule '.length));
    // Deno has the list and keeps it empty.
    builtins = collectBuiltins(names.length > 0 ? names : builtinModules);
  }
  return builtins.get(value);
}

const UNSTABLE = /^(_|internal\/|node:|wasi$|sqlite$|sys$|punycode$|trace_events$|test)/;

function collectBuiltins(names: readonly string[]): Map<unknown, Imported> {
  const found = new Map<unknown, Imported>();
  for (const name of names) {
    if (UNSTABLE.test(name) || !isBuiltin(name)) continue;
    const module = { specifier: `node:${name}`, url: `node:${name}` };
    const exports = process.getBuiltinModule(name) as unknown as object | undefined;
    if (exports === undefined) continue;
    addExports(found, module, exports);
  }
  return found;
}

function addExports(found: Map<unknown, Imported>, module: ModuleRef, exports: object): void {
  const usable = (value: unknown): value is object =>
    typeof value === 'function' || (typeof value === 'object' && value !== null);
  if (!found.has(exports)) found.set(exports, { module, path: 'default' });
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(exports))) {
    const value = descriptor.value as unknown;
    if (!usable(value) || found.has(value) || value === globalThis) continue;
    const plain =
      Object.getPrototypeOf(value) === Object.prototype && Object.keys(value).length === 0;
    if (!plain) found.set(value, { module, path: name });
  }
}

interface CommonModule {
  exports?: unknown;
  filename?: string;
}

/** The installed CommonJS package whose `module.exports`, or a member of it, a value is. */
export function commonExport(value: object): Imported | undefined {
  if (inDeno) return undefined;
  const loaded = createRequire(import.meta.url).cache as Record<string, CommonModule | undefined>;
  for (const [file, module] of Object.entries(loaded)) {
    if (!file.includes('/node_modules/') || module === undefined) continue;
    const { exports } = module;
    if (exports === value) return packageFile(file, 'default');
    if (typeof exports !== 'object' || exports === null) continue;
    for (const [name, item] of Object.entries(exports as object)) {
      if (item === value) return packageFile(file, `default.${name}`);
    }
  }
  return undefined;
}

/** A function of an installed package, found among the exports of the file it is written in. */
export function packageExport(fn: Function, url: string): Imported | undefined {
  if (!url.startsWith('file:') || !url.includes('/node_modules/')) return undefined;
  let exports: Record<string, unknown>;
  try {
    exports = createRequire(url)(fileURLToPath(url)) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const file = fileURLToPath(url);
  if ((exports as unknown) === fn) return packageFile(file, 'default');
  for (const [name, item] of Object.entries(exports)) {
    if (item === fn) {
      const esm = Object.prototype.toString.call(exports) === '[object Module]';
      return packageFile(file, esm ? name : `default.${name}`);
    }
  }
  return undefined;
}

function packageFile(file: string, path: string): Imported {
  const inside = file.slice(file.lastIndexOf('/node_modules/') + '/node_modules/'.length);
  return { module: { specifier: inside, url: pathToFileURL(file).href }, path };
}

const RECORD = Symbol.for('taskloom.imports');
const recordedExports = new Map<unknown, Imported>();
const recordedSpecifiers = new Map<string, string>();

/** Imports a notebook made since the last look; a promise while their exports are read. */
export function readRecordedImports(): Promise<void> | undefined {
  const record = (globalThis as { [RECORD]?: Map<string, string> })[RECORD];
  if (record === undefined) return undefined;
  const fresh = [...record].filter(([name, url]) => recordedSpecifiers.get(name) !== url);
  if (fresh.length === 0) return undefined;
  return Promise.all(fresh.map(([specifier, url]) => readRecorded(specifier, url))).then(() => {});
}

async function readRecorded(specifier: string, url: string): Promise<void> {
  recordedSpecifiers.set(specifier, url);
  if (isOwnModule(specifier, url)) return;
  const namespace = (await import(url).catch(() => undefined)) as object | undefined;
  if (namespace === undefined) return;
  const module = { specifier, url };
  recordedExports.set(namespace, { module, path: '' });
  for (const [name, value] of Object.entries(namespace)) {
    const usable = typeof value === 'function' || (typeof value === 'object' && value !== null);
    if (usable && !recordedExports.has(value)) recordedExports.set(value, { module, path: name });
  }
}

/** The recorded import a value is. */
export function recordedExport(value: object): Imported | undefined {
  return recordedExports.get(value);
}
