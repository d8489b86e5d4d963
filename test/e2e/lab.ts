/**
 * A JupyterLab of its own for a test: the one that `npm start` opens, with every folder that
 * Jupyter, IPython and Taskloom write to in a place made for this run, so that neither the user's
 * settings nor other clusters are seen. All its processes carry a mark in their environment and
 * are known by it, whatever becomes of their parents.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  cpSync,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { labCommand, labEnvironment } from '../../scripts/lab.mjs';
import { processes, until } from '../deploy/processes.ts';
import type { SeenProcess } from '../deploy/processes.ts';

export const root = join(import.meta.dirname, '../..');
/** Where people look after a run: logs, and what a failed test saw. */
export const results = join(root, 'test-results');

const MARK = 'TASKLOOM_TEST_MARK';

export interface LabOptions {
  /** Names the folder and the log file. */
  name: string;
  /** Another program than jupyter-lab that takes the same options. */
  program?: { command: string; args: string[]; env: Record<string, string> };
}

type LabParts = Pick<
  Lab,
  'name' | 'url' | 'notebooks' | 'runtime' | 'temporary' | 'process' | 'env'
> & { mark: string };

export class Lab {
  readonly name: string;
  /** Address with the login token. */
  readonly url: string;
  /** What the lab shows as its top folder. */
  readonly notebooks: string;
  /** Where connection files are written. */
  readonly runtime: string;
  /** TMPDIR of the lab and everything below it; short, for it holds unix sockets. */
  readonly temporary: string;
  readonly process: ChildProcess;
  /** The environment of the lab, for processes that shall belong to the same user's world. */
  readonly env: NodeJS.ProcessEnv;
  private readonly mark: string;

  private constructor(parts: LabParts) {
    this.name = parts.name;
    this.url = parts.url;
    this.notebooks = parts.notebooks;
    this.runtime = parts.runtime;
    this.temporary = parts.temporary;
    this.process = parts.process;
    this.env = parts.env;
    this.mark = parts.mark;
  }

  /** Starts it and resolves when it answers. */
  static async start(options: LabOptions): Promise<Lab> {
    const { name } = options;
    const home = join(root, '.cache/e2e', name);
    rmSync(home, { recursive: true, force: true });
    const notebooks = join(home, 'examples');
    copyNotebooks(home, notebooks);
    const temporary = mkdtempSync(join(tmpdir(), 'tl-'));
    const mark = randomUUID();
    const token = randomUUID();
    const program = options.program ?? otherLab(home);
    const env = {
      ...process.env,
      ...labEnvironment(),
      ...ownFolders(home),
      ...program?.env,
      [MARK]: mark
    };
    const { command, args } = await labCommand([
      `--ServerApp.root_dir=${notebooks}`,
      '--no-browser',
      `--IdentityProvider.token=${token}`,
      '--ServerApp.port_retries=0'
    ]);
    const port = args.find(arg => arg.startsWith('--ServerApp.port='))?.split('=')[1] ?? '';
    const child = spawn(program?.command ?? command, [...(program?.args ?? []), ...args], {
      cwd: root,
      env: { ...env, TMPDIR: temporary },
      stdio: ['ignore', 'pipe', 'pipe']
    });
    mkdirSync(results, { recursive: true });
    const log = createWriteStream(join(results, `${name}.log`));
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    const base = `http://127.0.0.1:${port}`;
    await until('the lab answers', () => answers(child, `${base}/api?token=${token}`), 60_000);
    return new Lab({
      name,
      url: `${base}/lab?token=${token}`,
      notebooks,
      runtime: join(home, 'clusters'),
      temporary,
      process: child,
      env: { ...env, TMPDIR: temporary },
      mark
    });
  }

  /** Address of something below the server's root, with the login. */
  at(path: string): string {
    const url = new URL(this.url);
    return `${url.origin}${path}?token=${url.searchParams.get('token') ?? ''}`;
  }

  /** Every live process that was started in this lab, however far below it and by whomever. */
  family(): SeenProcess[] {
    return processes().filter(({ pid }) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${MARK}=${this.mark}`);
      } catch {
        return false;
      }
    });
  }

  /** What lies in its temporary folder that a clean end takes away: sockets. */
  sockets(): string[] {
    return readdirSync(this.temporary, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isSocket())
      .map(entry => join(entry.parentPath, entry.name));
  }

  /** Ends the lab itself by a signal; what it has started must see to itself. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const { process: lab } = this;
    if (lab.exitCode !== null || lab.signalCode !== null) return;
    const closed = once(lab, 'exit');
    lab.kill(signal);
    await closed;
  }

  /** Leaves nothing behind, whatever the test has come to. */
  async dispose(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGTERM');
      // It may wait for kernels; a test's end does not.
      const patience = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
      await once(this.process, 'exit');
      clearTimeout(patience);
    }
    const gone = until('every process of the lab has ended', () => this.family().length === 0);
    await gone.catch(() => undefined);
    for (const { pid } of this.family()) kill(pid);
    rmSync(this.temporary, { recursive: true, force: true });
  }
}

/** Ends a process at once; one that has just gone is as good. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // gone
  }
}

async function answers(child: ChildProcess, url: string): Promise<boolean> {
  if (child.exitCode !== null) throw new Error(`The lab ended with code ${child.exitCode}.`);
  try {
    return (await fetch(url)).ok;
  } catch {
    return false;
  }
}

/** The examples, where they find the packages as they do in the checkout. */
function copyNotebooks(home: string, notebooks: string): void {
  mkdirSync(home, { recursive: true });
  for (const from of ['examples', 'test/e2e/notebooks']) {
    cpSync(join(root, from), notebooks, {
      recursive: true,
      filter: source => !source.includes('.ipynb_checkpoints')
    });
  }
  symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'));
}

/**
 * Another JupyterLab than the checkout's, named by its program: TASKLOOM_TEST_LAB=…/jupyter-lab.
 * Its Python must find the checkout's packages besides its own.
 */
function otherLab(home: string): LabOptions['program'] {
  const command = process.env['TASKLOOM_TEST_LAB'];
  if (command === undefined || command === '') return undefined;
  keepCells(home);
  return { command, args: [], env: { JUPYTER_PATH: join(root, '.venv/share/jupyter') } };
}

/** Labs before 4.3 take cells that are out of sight off the page, where no test could read them. */
function keepCells(home: string): void {
  const folder = join(home, 'settings/@jupyterlab/notebook-extension');
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, 'tracker.jupyterlab-settings'),
    JSON.stringify({ windowingMode: 'defer' })
  );
}

function ownFolders(home: string): Record<string, string> {
  return {
    TASKLOOM_RUNTIME_DIR: join(home, 'clusters'),
    JUPYTER_CONFIG_DIR: join(home, 'config'),
    JUPYTER_DATA_DIR: join(home, 'data'),
    JUPYTER_RUNTIME_DIR: join(home, 'runtime'),
    JUPYTERLAB_WORKSPACES_DIR: join(home, 'workspaces'),
    JUPYTERLAB_SETTINGS_DIR: join(home, 'settings'),
    IPYTHONDIR: join(home, 'ipython')
  };
}
