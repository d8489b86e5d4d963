/**
 * The whole build, in the one order that is right: lib/ (compiled modules and types), dist/ (the
 * bundled runtime), python/taskloom/labextension. Uses the Node that runs it.
 *
 * `--clean` starts from nothing; `--install` puts the npm packages in place first.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import { installPackages } from './packages.mjs';
import { main, must, root, say } from './steps.mjs';

const parts = [
  ['lib', ['node_modules/typescript/bin/tsc', '-b', 'tsconfig.node.json', 'tsconfig.browser.json']],
  ['dist', ['scripts/bundle.mjs']],
  ['labextension', ['scripts/labextension.mjs']]
];

main(async () => {
  // A release must not carry modules whose source is gone.
  if (process.argv.includes('--clean')) rmSync(join(root, 'lib'), { recursive: true, force: true });
  if (process.argv.includes('--install')) await installPackages();
  for (const [name, args] of parts) {
    const { seconds } = await must(`Building ${name}`, process.execPath, args, {
      advice: 'Put right what the lines above name, then run the same command again.'
    });
    say(`  built ${name} (${seconds.toFixed(1)} s)`);
  }
});
