/**
 * The JupyterLab that `npm start` opens, as a command: used by start.mjs, and by the tests that
 * must meet the very same lab. Loopback only, no questions to the outside, the examples in view.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';

import { root, venv } from './steps.mjs';

/** A port of the loopback address that nobody listens on. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Whether a browser could show itself here. */
function hasDisplay() {
  const { env, platform } = process;
  return platform === 'darwin' || Boolean(env.DISPLAY || env.WAYLAND_DISPLAY || env.BROWSER);
}

/** The program and its arguments; `extra` are Jupyter's own options and go before our choices. */
export async function labCommand(extra = []) {
  const given = (...names) =>
    extra.some(arg => names.some(name => arg === name || arg.startsWith(`${name}=`)));
  const args = [
    '--ServerApp.ip=127.0.0.1',
    '--LabApp.news_url=None',
    '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate'
  ];
  if (!given('--port', '--ServerApp.port')) args.push(`--ServerApp.port=${await freePort()}`);
  if (!hasDisplay() && !given('--no-browser')) args.push('--no-browser');
  if (process.getuid?.() === 0 && !given('--allow-root')) args.push('--allow-root');
  if (!given('--ServerApp.root_dir', '--notebook-dir')) {
    args.push(`--ServerApp.root_dir=${join(root, 'examples')}`);
  }
  return { command: join(venv, 'bin/jupyter-lab'), args: [...args, ...extra] };
}

/** What the lab and its kernels find by the environment: the tools of the virtual environment. */
export function labEnvironment(path = process.env.PATH) {
  return { PATH: `${join(venv, 'bin')}:${path}`, VIRTUAL_ENV: venv };
}
