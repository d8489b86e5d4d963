/**
 * Where a process keeps files: a folder of its own (mode 0700), made when the first is needed and
 * removed at the end. Folders that dead processes of this machine have left are removed, too.
 *
 * Folders lie on shared drives as well, so there are no lock files: a folder's name says on which
 * boot of which machine (and in which container) its process runs, and is only touched there.
 */
import { createHash } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync
} from 'node:fs';
import { rmSync, statfsSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

/** f_type of file systems that lie in memory: tmpfs, ramfs. */
const IN_MEMORY = new Set([0x01021994, 0x858458f6]);

/** Whose folder it is; clients are written in Python (python/taskloom/_files.py). */
export type Role = 'worker' | 'nanny' | 'client';

export class ProcessFolder {
  private readonly role: Role;
  private readonly parent: string;
  private path: string | null = null;

  /** `parent`: '' for a temporary folder of the system that is on disk, if there is one. */
  constructor(role: Role, parent = '') {
    this.role = role;
    this.parent = parent === '' ? temporary() : parent;
  }

  /** The path of a file in it. Throws when the folder cannot be made. */
  file(name: string): string {
    return join(this.make(), name);
  }

  /** Its files take memory: spilling frees nothing. */
  get inMemory(): boolean {
    return liesInMemory(this.parent);
  }

  toString(): string {
    return this.path ?? this.parent;
  }

  private make(): string {
    if (this.path !== null) return this.path;
    mkdirSync(this.parent, { recursive: true });
    const prefix = prefixOf(this.role);
    removeWhere(this.parent, prefix, isDead);
    this.path = mkdtempSync(join(this.parent, `${prefix}${process.pid}-`));
    return this.path;
  }

  /** Removes it with all its files. */
  remove(): void {
    if (this.path !== null) rmSync(this.path, { recursive: true, force: true });
    this.path = null;
  }
}

function temporary(): string {
  return [tmpdir(), '/var/tmp'].find(path => !liesInMemory(path)) ?? tmpdir();
}

/** Whether files there take memory. */
export function liesInMemory(path: string): boolean {
  try {
    return IN_MEMORY.has(statfsSync(path).type);
  } catch {
    return false;
  }
}

/** `taskloom-worker-<machine, boot, container>-`; a process number follows. */
function prefixOf(role: string): string {
  const facts = [hostname(), process.getuid?.() ?? 0];
  for (const read of [
    () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    () => readlinkSync('/proc/self/ns/pid')
  ]) {
    try {
      facts.push(read());
    } catch {
      // Not Linux: the host's name must do.
    }
  }
  const place = createHash('sha256').update(facts.join(' ')).digest('hex').slice(0, 12);
  return `taskloom-${role}-${place}-`;
}

/** Removes what a process of this machine has left that has just died. `parent` as above. */
export function removeFoldersOf(pid: number, role: 'worker' | 'nanny', parent = ''): void {
  try {
    const folder = parent === '' ? temporary() : parent;
    removeWhere(folder, prefixOf(role), other => other === pid);
  } catch {
    // The folder was never made, or cannot be read: the next process there tries again.
  }
}

/** Removes what processes of this machine have left that are gone. */
export function removeStaleFolders(role: Role, parent: string): void {
  try {
    removeWhere(parent, prefixOf(role), isDead);
  } catch {
    // It cannot be read: the next process there tries again.
  }
}

/** Removes folders of the processes of this machine that `chosen` names. */
function removeWhere(parent: string, start: string, chosen: (pid: number) => boolean): void {
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(start)) continue;
    const pid = Number(name.slice(start.length).split('-')[0]);
    const path = join(parent, name);
    try {
      // A link that somebody has put there is not followed.
      if (chosen(pid) && lstatSync(path).isDirectory()) rmSync(path, { recursive: true });
    } catch {
      // Another worker removes it at this moment.
    }
  }
}

function isDead(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
