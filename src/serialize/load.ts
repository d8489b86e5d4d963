/**
 * Imports modules for rebuilt functions: from the worker's root directory first, then from the
 * address the submitting side recorded. What is loaded is kept, so that values that use it can be
 * read synchronously afterwards.
 */
import { createRequire, isBuiltin } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as vm from 'node:vm';
import { SerializationError } from '../base/errors.ts';
import type { ModuleRef } from './encode.ts';
import { inDeno } from './scopes.ts';

type Namespace = Record<string, unknown>;
type Importer = (specifier: string, options?: object) => Promise<Namespace>;

const loaded = new Map<string, Namespace>();
const overrides = new Map<string, string>();

/** Makes a specifier mean one address on this worker, wherever it was imported from. */
export function overrideModule(specifier: string, url: string): void {
  overrides.set(specifier, url);
}

function keyOf(module: ModuleRef, root: string): string {
  return `${root}\n${module.specifier}\n${module.url}`;
}

/** The namespace of a module that is loaded already; built-in modules always are. */
export function loadedModule(module: ModuleRef, root: string): Namespace | undefined {
  const known = loaded.get(keyOf(module, root));
  if (known !== undefined) return known;
  if (!isBuiltin(module.specifier)) return undefined;
  const exports = process.getBuiltinModule(module.specifier) as unknown as Namespace | undefined;
  if (exports === undefined) return undefined;
  // Copied, because a namespace has `default` beside the exports.
  const namespace = Object.assign(Object.create(null) as Namespace, exports, { default: exports });
  loaded.set(keyOf(module, root), namespace);
  return namespace;
}

/** Imports a module, or says where it was looked for. */
export async function loadModule(module: ModuleRef, root: string): Promise<void> {
  const failures: string[] = [];
  for (const attempt of places(module, root)) {
    try {
      const folder = attempt.endsWith('/') ? fileURLToPath(attempt) : undefined;
      const importer = importerFor(folder ?? root);
      const namespace = await importer(folder === undefined ? attempt : module.specifier);
      loaded.set(keyOf(module, root), namespace);
      return;
    } catch (error) {
      if (!isMissing(error)) throw brokenModule(module, attempt, error);
      failures.push(attempt);
    }
  }
  throw missingModule(module, root, failures);
}

/** The same at once, for values read synchronously: through `require`, which loads both kinds. */
export function loadModuleNow(module: ModuleRef, root: string): Namespace {
  const failures: string[] = [];
  for (const attempt of places(module, root)) {
    try {
      const path = attempt.startsWith('file:') ? fileURLToPath(attempt) : attempt;
      const folder = attempt.endsWith('/') ? path : undefined;
      const require = requireFrom(folder ?? root);
      const exports = require(folder === undefined ? path : module.specifier) as Namespace;
      const esm = Object.prototype.toString.call(exports) === '[object Module]';
      const namespace = esm ? exports : { ...exports, default: exports };
      loaded.set(keyOf(module, root), namespace);
      return namespace;
    } catch (error) {
      if (!isMissing(error)) throw brokenModule(module, attempt, error);
      failures.push(attempt);
    }
  }
  throw missingModule(module, root, failures);
}

function missingModule(
  module: ModuleRef,
  root: string,
  failures: readonly string[]
): SerializationError {
  const looked = failures.map(at => (at.includes(':') ? at : `'${at}' from ${resolve(root)}`));
  return new SerializationError(
    `Module '${module.specifier}' is not installed on this worker. ` +
      `Looked for ${looked.join(', then ')}. Install it where the worker runs ` +
      `(npm install ${packageOf(module.specifier)}), or start the worker in a directory that has it.`
  );
}

/** What to try, in turn: the specifier as the worker's root sees it, then the recorded address. */
function places(module: ModuleRef, root: string): string[] {
  const { specifier, url } = module;
  const override = overrides.get(specifier);
  if (override !== undefined) return [override];
  const tries: string[] = [];
  const bare = inDeno ? specifier : bareName(specifier);
  if (!/^[a-z][a-z+.-]*:/.test(bare) || isBuiltin(bare)) tries.push(bare);
  // A file inside a package, which the package need not export by that path.
  if (url.endsWith(`/node_modules/${specifier}`)) {
    tries.unshift(pathToFileURL(join(resolve(root), 'node_modules', specifier)).href);
  }
  if (url !== '' && !tries.includes(url)) tries.push(url);
  if (tries.length === 0) tries.push(specifier);
  return tries;
}

/** `npm:lodash@4/get` as Node says it: `lodash/get`. */
function bareName(specifier: string): string {
  const match = /^npm:\/?((?:@[^/]+\/)?[^/@]+)(?:@[^/]+)?(\/.*)?$/.exec(specifier);
  return match === null ? specifier : `${match[1]!}${match[2] ?? ''}`;
}

function packageOf(specifier: string): string {
  return /^((?:@[^/]+\/)?[^/]+)/.exec(bareName(specifier))?.[1] ?? specifier;
}

function isMissing(error: unknown): boolean {
  const code = (error as { code?: string } | null)?.code ?? '';
  const missing = [
    'ERR_MODULE_NOT_FOUND',
    'MODULE_NOT_FOUND',
    'ERR_PACKAGE_PATH_NOT_EXPORTED',
    'ERR_UNSUPPORTED_DIR_IMPORT',
    'ERR_UNSUPPORTED_ESM_URL_SCHEME',
    'ENOENT'
  ];
  return missing.includes(code) || /not a dependency|not found|Cannot find/i.test(String(error));
}

function brokenModule(module: ModuleRef, from: string, cause: unknown): SerializationError {
  return new SerializationError(
    `Module '${module.specifier}', imported from ${from}, failed while it was loaded: ` +
      `${cause instanceof Error ? cause.message : String(cause)}. Run it alone on the worker's machine to see why.`,
    { cause }
  );
}

const importers = new Map<string, Importer>();

/** `import()` as a module in the root directory would see it. */
function importerFor(root: string): Importer {
  const known = importers.get(root);
  if (known !== undefined) return known;
  const importer = inDeno ? importInDeno(root) : importInNode(root);
  importers.set(root, importer);
  return importer;
}

function importInNode(root: string): Importer {
  const script = new vm.Script('(specifier, options) => import(specifier, options)', {
    filename: pathToFileURL(join(resolve(root), 'taskloom-task.mjs')).href,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
  });
  const load = script.runInThisContext() as Importer;
  return (specifier, options) => {
    // Node calls this way in experimental, on standard error: tasks' logs are no place for that.
    const { emitWarning } = process;
    process.emitWarning = () => {};
    try {
      return load(specifier, options);
    } finally {
      process.emitWarning = emitWarning;
    }
  };
}

function importInDeno(root: string): Importer {
  const require = createRequire(pathToFileURL(join(resolve(root), 'taskloom-task.mjs')));
  return async (specifier, options) => {
    let target = specifier;
    if (!isBuiltin(specifier) && !/^[a-z][a-z+.-]*:/.test(specifier)) {
      target = pathToFileURL(require.resolve(specifier)).href;
    }
    return (
      options === undefined ? await import(target) : await importWith(target, options)
    ) as Namespace;
  };
}

/** Bundlers refuse import options they cannot read; this way they do not look. */
const importWith = new Function('target', 'options', 'return import(target, options)') as Importer;

/** The `import()` of a rebuilt function: relative to its own module, packages from the root. */
export function dynamicImport(root: string, from: string): (specifier: string) => Promise<unknown> {
  return (specifier: string, options?: object) => {
    const text = String(specifier);
    const override = overrides.get(text);
    if (override !== undefined) return importerFor(root)(override, options);
    const relative = /^\.{1,2}\//.test(text) && from.startsWith('file:');
    const target = relative ? new URL(text, from).href : bareName(text);
    return importerFor(root)(target, options);
  };
}

/** CommonJS `require` from the root directory. */
export function requireFrom(root: string): NodeJS.Require {
  return createRequire(pathToFileURL(join(resolve(root), 'taskloom-task.cjs')));
}
