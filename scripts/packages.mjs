/**
 * Puts the npm packages of package-lock.json in place, when they are not there already.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { must, root, step } from './steps.mjs';

/** Whether node_modules holds exactly what the lock file asks for (optional parts aside). */
function installedAsLocked() {
  const hidden = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(hidden)) return false;
  const have = JSON.parse(readFileSync(hidden, 'utf8')).packages;
  const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(want).every(([path, entry]) => {
    if (path === '') return true;
    if (have[path] === undefined) return entry.optional || entry.peer;
    return have[path].version === entry.version;
  });
}

/** Runs `npm ci` with the `npm` that PATH (of `env`) leads to, if anything is missing. */
export async function installPackages(env = {}) {
  if (installedAsLocked()) return;
  await step('npm packages', () =>
    // Install scripts of dependencies are not needed, so none is run.
    must(
      'Installing the npm packages',
      'npm',
      ['ci', '--ignore-scripts', '--no-audit', '--no-fund'],
      {
        env: { ...env, PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD: '1' },
        advice:
          'npm could not install what package-lock.json lists. Check the network, or the registry that npm is\n' +
          'set to use (npm config get registry), then run the same command again.'
      }
    )
  );
}
