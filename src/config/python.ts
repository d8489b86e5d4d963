/**
 * Which Python runs the Python tasks of a worker: the option `python`, else the variable
 * TASKLOOM_PYTHON, which whoever starts a cluster from Python sets to its own interpreter. Without
 * either a worker runs none: looking for one costs every start more than the rest of it.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { libraryPath } from './runtime.ts';

/** How Python tasks are run. */
export interface PythonChoice {
  /** The interpreter. */
  python: string;
  /** Folder in which the package lies, of a checkout; '' = the interpreter has it. */
  packagePath: string;
}

/** The interpreter to use, or null. `none` switches Python off whatever the variable says. */
export function choosePython(option: string | undefined): PythonChoice | null {
  const python = option ?? process.env['TASKLOOM_PYTHON'] ?? '';
  if (python === '' || python === 'none') return null;
  const checkout = join(dirname(libraryPath()), '..', 'python');
  const isThere = existsSync(join(checkout, 'taskloom', 'executor', '__init__.py'));
  return { python, packagePath: isThere ? checkout : '' };
}
