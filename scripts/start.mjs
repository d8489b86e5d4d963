/**
 * `npm start`: sets everything up, then opens JupyterLab on the examples and prints its address.
 * Arguments after `--` go to JupyterLab: `npm start -- --no-browser --port 9000`.
 */
import { spawn } from 'node:child_process';

import { labCommand } from './lab.mjs';
import { setup } from './setup.mjs';
import { main, root, say } from './steps.mjs';

main(async () => {
  const { env } = await setup();
  const { command, args } = await labCommand(process.argv.slice(2));
  say('Starting JupyterLab. Open the address that it prints below; Ctrl+C ends it.');
  const lab = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: 'inherit'
  });
  // Ctrl+C reaches the lab by itself (same terminal); it asks, or ends at the second one.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => lab.kill(signal));
  process.exitCode = await new Promise(resolve => lab.on('close', code => resolve(code ?? 1)));
});
