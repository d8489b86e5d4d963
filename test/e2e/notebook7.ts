/**
 * Notebook 7 for a test: an environment that stands on the checkout's own and adds nothing but
 * the `notebook` package, so that both front ends meet the same lab extension and kernels. It is
 * made once and kept in .cache.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { root } from './lab.ts';

const run = promisify(execFile);
const venv = join(root, '.venv');
const place = join(root, '.cache/notebook7');
const python = join(place, 'bin/python');

/** Where packages of an environment lie; there is one Python in each. */
function packagesOf(environment: string): string {
  const [version] = readdirSync(join(environment, 'lib')).filter(name => name.startsWith('python'));
  return join(environment, 'lib', version ?? '', 'site-packages');
}

/** The lab below it: with another one it must be made anew. */
function labVersion(): string {
  const packages = packagesOf(venv);
  const names = readdirSync(packages).filter(name => /^jupyterlab-.*\.dist-info$/.test(name));
  return join(packages, ...names);
}

/** How to start it; made first if it is not there. */
export async function notebook7(): Promise<{
  command: string;
  args: string[];
  env: Record<string, string>;
}> {
  const stamp = join(place, 'made-for');
  const wanted = labVersion();
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
    rmSync(place, { recursive: true, force: true });
    await make();
    writeFileSync(stamp, wanted);
  }
  return {
    command: python,
    args: ['-m', 'notebook'],
    env: {
      JUPYTER_PATH: join(venv, 'share/jupyter'),
      JUPYTER_CONFIG_PATH: join(venv, 'etc/jupyter')
    }
  };
}

async function make(): Promise<void> {
  const base = join(venv, 'bin/python');
  await run(base, ['-m', 'venv', '--without-pip', place]);
  const packages = packagesOf(place);
  writeFileSync(
    join(packages, 'checkout.pth'),
    `import site; site.addsitedir(${JSON.stringify(packagesOf(venv))})\n`
  );
  const pip = ['-m', 'pip', '--disable-pip-version-check', '--python', python];
  await run(base, [...pip, 'install', '--quiet', 'notebook>=7.2']);
  // The lab's own settings and themes belong to an environment, not to a search path.
  for (const part of ['schemas', 'themes']) {
    const to = join(place, 'share/jupyter/lab', part);
    cpSync(join(venv, 'share/jupyter/lab', part), to, { recursive: true, force: false });
  }
}
