/**
 * Where this package's own files are, and which Node runs them. Every process of a cluster is
 * `NODE dist/taskloom.mjs <command>`; these functions are the one place that knows both paths,
 * whether the caller is a bundle, the compiled library or the sources.
 *
 * Settings: `TASKLOOM_NODE` names the Node to use, `TASKLOOM_COMMAND` another taskloom.mjs.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../base/errors.ts';
import { PROTOCOL_VERSION } from '../protocol/limits.ts';
import type { Versions } from '../protocol/versions.ts';

/** Set by the bundler; the sources read package.json instead. */
declare const __TASKLOOM_VERSION__: string;

/** The Node that runs our processes: `TASKLOOM_NODE`, this one, or the one on the PATH. */
export function nodePath(): string {
  const named = process.env['TASKLOOM_NODE'];
  if (named !== undefined && named !== '') return named;
  // Deno and others imitate `process`; their own binary cannot run our command.
  const isNode = /^node(\.exe)?$/.test(basename(process.execPath)) && !('Deno' in globalThis);
  return isNode ? process.execPath : 'node';
}

/** The command's file, `dist/taskloom.mjs`. Throws ConfigError when it has not been built. */
export function commandPath(): string {
  const named = process.env['TASKLOOM_COMMAND'];
  const path =
    named !== undefined && named !== ''
      ? named
      : fileURLToPath(new URL(besideUs(), import.meta.url));
  if (!existsSync(path)) {
    throw new ConfigError(
      `Taskloom's command is not at ${path}, so no process of a cluster can be started. ` +
        `In a checkout, build it with: npm run build:runtime. Otherwise reinstall taskloom.`
    );
  }
  return path;
}

function besideUs(): string {
  return import.meta.url.endsWith('.mjs') ? './taskloom.mjs' : '../../dist/taskloom.mjs';
}

/** The library's file, `dist/index.mjs`: what `import "taskloom"` means. */
export function libraryPath(): string {
  return join(dirname(commandPath()), 'index.mjs');
}

/** What this process says of its software. */
export function ownVersions(): Versions {
  const { deno, node } = process.versions as { deno?: string; node: string };
  return {
    taskloom: packageVersion(),
    protocol: PROTOCOL_VERSION,
    node: deno === undefined ? node : `deno ${deno}`,
    platform: `${process.platform} ${process.arch}`
  };
}

/** This package's version. */
export function packageVersion(): string {
  if (typeof __TASKLOOM_VERSION__ === 'string') return __TASKLOOM_VERSION__;
  const path = fileURLToPath(new URL('../../package.json', import.meta.url));
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
