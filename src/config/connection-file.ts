/**
 * Connection files: how clusters are found. Every scheduler writes one (mode 0600) into the user's
 * runtime folder and removes it when it ends; the launcher, the command line and clients read them.
 *
 * Folder: `TASKLOOM_RUNTIME_DIR`, or `$XDG_DATA_HOME/taskloom/clusters`, or
 * `~/.local/share/taskloom/clusters`: one place that a desktop session, a lab and a batch job on a
 * shared home agree about (XDG_RUNTIME_DIR is not).
 */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from 'node:fs';
import { homedir, hostname } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../base/errors.ts';

export interface ConnectionFile {
  /** Unique and short: `local-7f3a`. */
  id: string;
  name: string;
  kind: string;
  /** `http://host:port`: links, dashboard and API share the port. */
  address: string;
  token: string;
  protocol: number;
  /** Scheduler's process and host: a reader on the same host checks that it lives. */
  pid: number;
  host: string;
  /** Process on the same host that starts the scheduler again when it dies, if any. */
  supervisor?: number;
  /** Why the scheduler is not there at the moment; its supervisor is starting it again. */
  restarting?: string;
  /** ms since the epoch. */
  startedAt: number;
  madeBy: { kind: 'sidebar' | 'notebook' | 'script' | 'cli'; label: string };
}

export function runtimeFolder(): string {
  const own = process.env['TASKLOOM_RUNTIME_DIR'];
  if (own !== undefined && own !== '') return own;
  const data = process.env['XDG_DATA_HOME'];
  return join(
    data === undefined || data === '' ? join(homedir(), '.local', 'share') : data,
    'taskloom',
    'clusters'
  );
}

/** Where the user's choice of active cluster is kept: the id, as text. */
export function activeClusterPath(): string {
  return join(runtimeFolder(), 'active');
}

/** Writes the file whole (rename), readable by its owner only, and returns its path. */
export function writeConnectionFile(file: ConnectionFile): string {
  const folder = runtimeFolder();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${file.id}.json`);
  const draft = `${path}.${process.pid}.draft`;
  writeFileSync(draft, JSON.stringify(file, null, 2), { mode: 0o600 });
  chmodSync(draft, 0o600);
  renameSync(draft, path);
  return path;
}

export function removeConnectionFile(id: string): void {
  rmSync(join(runtimeFolder(), `${id}.json`), { force: true });
}

/** The file of this cluster, or null when there is none. */
export function readConnectionFileOf(id: string): ConnectionFile | null {
  return readConnectionFile(join(runtimeFolder(), `${id}.json`));
}

/** Says in its file why a scheduler is away that is being started again. */
export function markRestarting(id: string, reason: string): void {
  const file = readConnectionFileOf(id);
  if (file !== null) writeConnectionFile({ ...file, restarting: reason });
}

/** All clusters whose files can be read and whose schedulers live, newest first. */
export function listConnectionFiles(): ConnectionFile[] {
  let names: string[];
  try {
    names = readdirSync(runtimeFolder());
  } catch {
    return [];
  }
  const files: ConnectionFile[] = [];
  for (const name of names) {
    if (!name.endsWith('.json')) continue;
    const file = readConnectionFile(join(runtimeFolder(), name));
    if (file !== null && schedulerLives(file)) files.push(file);
  }
  return files.sort((a, b) => b.startedAt - a.startedAt);
}

/** The parsed file, or null when it is gone or not (yet) whole. */
export function readConnectionFile(path: string): ConnectionFile | null {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as ConnectionFile;
    return typeof value.address === 'string' && typeof value.token === 'string' ? value : null;
  } catch {
    return null;
  }
}

/**
 * False only when it is certain that the scheduler is gone: same host, no such process, and none
 * that would start it again.
 */
export function schedulerLives(file: ConnectionFile): boolean {
  if (file.host !== hostname()) return true;
  return processLives(file.pid) || (file.supervisor !== undefined && processLives(file.supervisor));
}

function processLives(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return !isZombie(pid);
}

/**
 * Whether a cluster that cannot be reached will certainly not come back: it had a supervisor on this
 * host, which is gone, too.
 */
export function isGoneForGood(id: string): boolean {
  const file = readConnectionFileOf(id);
  return file?.supervisor !== undefined && !schedulerLives(file);
}

/** Ended, and nobody has asked how: common in containers, whose first process may never ask. */
function isZombie(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

/** Removes the files of schedulers of this host that are certainly gone; returns their ids. */
export function removeStaleConnectionFiles(): string[] {
  let names: string[];
  try {
    names = readdirSync(runtimeFolder());
  } catch {
    return [];
  }
  const removed: string[] = [];
  for (const name of names) {
    if (!name.endsWith('.json')) continue;
    const file = readConnectionFile(join(runtimeFolder(), name));
    if (file === null || schedulerLives(file)) continue;
    removeConnectionFile(file.id);
    removed.push(file.id);
  }
  return removed;
}

/** The live cluster of this id, name or address; with a name that several have, the newest. */
export function findCluster(target: string): ConnectionFile {
  const files = listConnectionFiles();
  const address = target.replace(/\/+$/, '');
  const found =
    files.find(file => file.id === target) ??
    files.find(file => file.name === target) ??
    files.find(file => file.address === address);
  if (found !== undefined) return found;
  const known = files.map(file => (file.name === file.id ? file.id : `${file.name} (${file.id})`));
  throw new ConfigError(
    `No running cluster is called ${target}. ` +
      (known.length === 0
        ? 'None runs for this user: start one with taskloom cluster start.'
        : `Those that run: ${known.join(', ')}.`)
  );
}

/** The cluster that the user has chosen, if it still lives. */
export function activeCluster(): ConnectionFile | null {
  const id = readActiveId();
  return id === null ? null : (listConnectionFiles().find(file => file.id === id) ?? null);
}

/** The id of the chosen cluster, alive or not. */
export function readActiveId(): string | null {
  try {
    const id = readFileSync(activeClusterPath(), 'utf8').trim();
    return id === '' ? null : id;
  } catch {
    return null;
  }
}

/** Makes a cluster the one that `Client.connect()` uses; null: none. */
export function writeActiveId(id: string | null): void {
  if (id === null) {
    rmSync(activeClusterPath(), { force: true });
    return;
  }
  mkdirSync(runtimeFolder(), { recursive: true, mode: 0o700 });
  const draft = `${activeClusterPath()}.${process.pid}.draft`;
  writeFileSync(draft, `${id}\n`, { mode: 0o600 });
  renameSync(draft, activeClusterPath());
}

/** Whether somebody on this host starts the scheduler of this address again when it dies. */
export function isSupervised(address: string): boolean {
  const file = listConnectionFiles().find(one => one.address === address);
  return file?.supervisor !== undefined && processLives(file.supervisor);
}
