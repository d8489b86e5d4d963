/**
 * Bundles the runtime into dist/, whole files that need no node_modules beside them:
 *
 *   index.mjs      what `import "taskloom"` gives in Node and Deno
 *   taskloom.mjs   the command: turns V8's compile cache on, then loads main.mjs
 *   main.mjs       the command proper
 *   nanny.mjs, scheduler.mjs, worker.mjs   what a cluster's own processes run
 *   executor.mjs   what a worker runs in its worker threads
 *   kernel.mjs     what runs in a TypeScript kernel before the first cell
 *   page/          the dashboard page that a scheduler serves
 *
 * The folder is made anew beside the old one and then takes its place, so that a failed or
 * half-done build never leaves a mixture, and a running cluster keeps the files it has open.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from 'node:fs';
import { join } from 'node:path';

import { build } from 'esbuild';

import { root } from './steps.mjs';

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const out = join(root, 'dist');
const next = join(root, 'build', `dist.${process.pid}`);

/** CommonJS packages inside an ES module ask for `require`; Node's built-ins come through it. */
const banner = {
  js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);"
};

/**
 * What ws asks for at its head and few programs use: encrypted links (`tls`, `https`: thirty
 * milliseconds of every start) are loaded when the first is made.
 */
const lateParts = {
  name: 'late-parts',
  setup(build) {
    const ofWs = ({ importer }) => /[\\/]node_modules[\\/]ws[\\/]/.test(importer);
    build.onResolve({ filter: /^(https|tls)$/ }, args =>
      ofWs(args) ? { path: args.path, namespace: 'late' } : undefined
    );
    build.onLoad({ filter: /.*/, namespace: 'late' }, ({ path }) => ({
      contents: `module.exports = new Proxy({}, { get: (_, name) => require('node:${path}')[name] });`
    }));
  }
};

const runtime = {
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  banner,
  legalComments: 'none',
  sourcemap: 'linked',
  sourcesContent: false,
  // Function and class names are seen by users (keys, error names): identifiers stay as written.
  minifySyntax: true,
  // Native accelerators of ws and msgpackr: a machine-specific binary has no place in one file, and
  // looking for one costs every start.
  external: ['bufferutil', 'utf-8-validate'],
  plugins: [lateParts],
  alias: { msgpackr: join(root, 'node_modules/msgpackr/index.js') },
  logLevel: 'warning'
};

/** The command's first file, small on purpose: it must run before anything else is compiled. */
const command = `#!/usr/bin/env node
import { accessSync, constants, mkdirSync } from 'node:fs';
import module from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 12)) {
  process.stderr.write(
    'taskloom needs Node 22.12 or newer; this is ' + process.version + ' (' + process.execPath + ').\\n'
  );
  process.exit(1);
}

/** Next to this file if it may be written there, else in the user's cache, else none. */
function cacheFolder() {
  const own = dirname(fileURLToPath(import.meta.url));
  const user = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  for (const base of [own, user, tmpdir()]) {
    try {
      accessSync(base, constants.W_OK);
      const folder = base === own ? join(own, '.compile-cache') : join(base, 'taskloom', 'compile-cache');
      mkdirSync(folder, { recursive: true });
      return folder;
    } catch {
      // not writable: the next one
    }
  }
  return undefined;
}

const folder = cacheFolder();
if (folder !== undefined) {
  module.enableCompileCache?.(folder);
  // Workers are often killed rather than ended: write what was compiled while there is time.
  setTimeout(() => module.flushCompileCache?.(), 3000).unref();
}
const [role, flag] = process.argv.slice(2);
await import(flag === '--supervised' ? './' + role + '.mjs' : './main.mjs');
`;

const define = { __TASKLOOM_VERSION__: JSON.stringify(version) };

/** One entry of the runtime: a whole file of its own, which can be copied to a host by itself. */
function module(name, source) {
  return async folder => {
    const outfile = join(folder, `${name}.mjs`);
    await build({ ...runtime, define, entryPoints: [join(root, source)], outfile });
    writeFileSync(outfile, nameClasses(readFileSync(outfile, 'utf8')));
  };
}

/**
 * A class that mentions itself becomes `Client = class _Client` in a bundle, and would show that
 * name to users. esbuild's own cure (`keepNames`) costs time at every call of every inner function.
 */
function nameClasses(code) {
  return code.replace(
    /( = class _(\w+)(?: extends [\w.]+)? \{)/g,
    '$1 static { Object.defineProperty(this, "name", { value: "$2", configurable: true }); }'
  );
}

async function buildPage(folder) {
  mkdirSync(join(folder, 'page'), { recursive: true });
  await build({
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    jsx: 'automatic',
    minify: true,
    define: { ...define, 'process.env.NODE_ENV': '"production"' },
    loader: { '.svg': 'text' },
    entryPoints: [join(root, 'src/panels/page/main.tsx')],
    outfile: join(folder, 'page', 'page.js'),
    legalComments: 'none',
    logLevel: 'warning'
  });
  cpSync(join(root, 'src/panels/page/index.html'), join(folder, 'page', 'index.html'));
  writeFileSync(join(folder, 'page', 'page.css'), pageStyle());
}

const parts = {
  index: module('index', 'src/index.ts'),
  main: module('main', 'src/cli/main.ts'),
  nanny: module('nanny', 'src/cli/role/nanny.ts'),
  scheduler: module('scheduler', 'src/cli/role/scheduler.ts'),
  worker: module('worker', 'src/cli/role/worker.ts'),
  executor: module('executor', 'src/worker/executor/thread-main.ts'),
  kernel: module('kernel', 'src/kernel/startup.ts'),
  page: buildPage
};

/** Builds everything into a new folder, which then replaces the old one. */
async function bundle() {
  rmSync(next, { recursive: true, force: true });
  mkdirSync(next, { recursive: true });
  await Promise.all(Object.values(parts).map(part => part(next)));
  writeFileSync(join(next, 'taskloom.mjs'), command, { mode: 0o755 });
  const manifest = { name: 'taskloom', version, type: 'module' };
  writeFileSync(join(next, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  replace();
}

/** The page's own style after the panels' style, with imports already in place. */
function pageStyle() {
  return ['style/base.css', 'style/page.css']
    .map(name => join(root, name))
    .filter(path => existsSync(path))
    .map(path => readFileSync(path, 'utf8'))
    .join('\n');
}

/** Puts the new folder in place of the old one; the compile cache of unchanged files is kept. */
function replace() {
  const old = join(root, 'build', `dist.${process.pid}.old`);
  if (existsSync(out)) {
    const cache = join(out, '.compile-cache');
    if (existsSync(cache)) cpSync(cache, join(next, '.compile-cache'), { recursive: true });
    renameSync(out, old);
  }
  renameSync(next, out);
  rmSync(old, { recursive: true, force: true });
}

// `node scripts/bundle.mjs kernel` rebuilds one part in place, for whoever works on it.
const names = process.argv.slice(2);
const unknown = names.filter(name => !(name in parts));
if (unknown.length > 0) {
  process.stderr.write(
    `No part is called ${unknown.join(', ')}: ${Object.keys(parts).join(', ')}\n`
  );
  process.exitCode = 1;
} else if (names.length > 0) {
  await Promise.all(names.map(name => parts[name](out)));
} else {
  await bundle();
}
