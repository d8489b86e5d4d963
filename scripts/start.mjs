/**
 * `npm start`: sets everything up, then opens JupyterLab on the examples and prints its address.
 * Arguments after `--` go to JupyterLab: `npm start -- --no-browser --port 9000`.
 */
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';

import { setup } from './setup.mjs';
import { main, root, say, venv } from './steps.mjs';

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

main(async () => {
  const { env } = await setup();
  const extra = process.argv.slice(2);
  const given = name => extra.some(arg => arg === name || arg.startsWith(`${name}=`));
  const args = [
    '--ServerApp.ip=127.0.0.1',
    '--LabApp.news_url=None',
    '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate'
  ];
  if (!given('--port') && !given('--ServerApp.port')) {
    args.push(`--ServerApp.port=${await freePort()}`);
  }
  if (!hasDisplay() && !given('--no-browser')) args.push('--no-browser');
  if (process.getuid?.() === 0 && !given('--allow-root')) args.push('--allow-root');
  if (
    !extra.some(arg => arg.startsWith('--ServerApp.root_dir') || arg.startsWith('--notebook-dir'))
  ) {
    args.push(`--ServerApp.root_dir=${join(root, 'examples')}`);
  }
  say('Starting JupyterLab. Open the address that it prints below; Ctrl+C ends it.');
  const lab = spawn(join(venv, 'bin/jupyter-lab'), [...args, ...extra], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: 'inherit'
  });
  // Ctrl+C reaches the lab by itself (same terminal); it asks, or ends at the second one.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => lab.kill(signal));
  process.exitCode = await new Promise(resolve => lab.on('close', code => resolve(code ?? 1)));
});
