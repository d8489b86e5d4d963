/**
 * Builds the prebuilt lab extension (python/taskloom/labextension) from lib/ with JupyterLab's own
 * builder, called straight from node_modules: no Python and no `jlpm` is needed for it.
 */
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { SetupError, main, must, root } from './steps.mjs';

const builder = join(root, 'node_modules/@jupyter/builder/lib/build-labextension.js');
const core = join(root, 'node_modules/@jupyterlab/core-meta/core.package.json');

main(async () => {
  if (!existsSync(join(root, 'lib/lab/plugin.js'))) {
    throw new SetupError('lib/lab/plugin.js is missing: run `npm run build:lib` first.');
  }
  // What an earlier build left would be shipped along: the builder only adds files.
  rmSync(join(root, 'python/taskloom/labextension'), { recursive: true, force: true });
  await must('The lab extension build', process.execPath, [
    builder,
    '--core-package-file',
    core,
    root
  ]);
  copyFileSync(join(root, 'install.json'), join(root, 'python/taskloom/labextension/install.json'));
});
