/**
 * The journal of a scheduler on disk: one file that is appended to, in a folder of its own. When the
 * file has grown to twice what the present takes, a snapshot begins the next one and the old one
 * is removed.
 *
 * What a turn of the loop appends is handed to the operating system before the answers to it leave:
 * a scheduler that is killed loses nothing that anybody was told. To the disk itself it goes once a
 * second (and whole, before a snapshot takes the place of what it sums up): a machine that fails
 * loses that much.
 */
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync
} from 'node:fs';
import { fdatasync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../../base/errors.ts';
import { encodeHeader, frame, readJournal } from './frames.ts';
import type { JournalHeader } from './frames.ts';
import type { JournalRecord } from './records.ts';

const NAME = /^journal-(\d{6})\.log$/;
/** A file smaller than this is not summed up. */
const SNAPSHOT_BYTES = 16 * 1024 * 1024;
const SYNC_MS = 1000;

export interface OpenJournal {
  journal: Journal;
  /** What was in it. */
  records: JournalRecord[];
  /** Whose it was; null: it is new. */
  cluster: JournalHeader['cluster'] | null;
  /** What the user should know of how it was found, or null. */
  note: string | null;
}

/** The cluster whose journal is in a folder, or null when there is none yet. */
export function clusterOfJournal(folder: string): JournalHeader['cluster'] | null {
  const path = newest(folder);
  return path === null ? null : readJournal(readFileSync(path), path).header.cluster;
}

export class Journal {
  private readonly folder: string;
  private readonly cluster: JournalHeader['cluster'];
  private number: number;
  private fd: number;
  private bytes: number;
  /** Bytes with which the file began: a snapshot, or nothing. */
  private base: number;
  private batch: Uint8Array[] = [];
  private scheduled = false;
  private dirty = false;
  private readonly timer: ReturnType<typeof setInterval>;

  private constructor(
    folder: string,
    cluster: JournalHeader['cluster'],
    file: { number: number; fd: number; bytes: number }
  ) {
    this.folder = folder;
    this.cluster = cluster;
    this.number = file.number;
    this.fd = file.fd;
    this.bytes = file.bytes;
    this.base = 0;
    this.timer = setInterval(() => this.sync(), SYNC_MS);
    this.timer.unref();
  }

  /** Opens a folder's journal, or begins one. Throws TaskloomError when it cannot be used. */
  static open(folder: string, cluster: JournalHeader['cluster']): OpenJournal {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    lock(folder);
    const path = newest(folder);
    if (path === null) {
      const fd = openSync(join(folder, nameOf(1)), 'wx', 0o600);
      const header = encodeHeader(cluster);
      writeSync(fd, header);
      const journal = new Journal(folder, cluster, { number: 1, fd, bytes: header.length });
      return { journal, records: [], cluster: null, note: null };
    }
    const bytes = readFileSync(path);
    const { header, records, whole } = readJournal(bytes, path);
    const fd = openSync(path, 'r+');
    let note: string | null = null;
    if (whole < bytes.length) {
      note =
        `the last ${bytes.length - whole} bytes of ${path} were not written whole when its scheduler ended; ` +
        'they are cut off';
      ftruncateSync(fd, whole);
    }
    closeSync(fd);
    const number = Number(NAME.exec(path.slice(folder.length + 1))?.[1]);
    const file = { number, fd: openSync(path, 'a'), bytes: whole };
    removeOthers(folder, number);
    const journal = new Journal(folder, header.cluster, file);
    return { journal, records: records as JournalRecord[], cluster: header.cluster, note };
  }

  append(record: JournalRecord): void {
    this.batch.push(frame(record));
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => this.write());
  }

  /** It has grown beyond what the present takes. */
  get isLong(): boolean {
    return this.bytes > Math.max(SNAPSHOT_BYTES, 2 * this.base);
  }

  /** Begins the next file with the present. */
  snapshot(records: Iterable<JournalRecord>): void {
    this.write();
    const next = this.number + 1;
    const path = join(this.folder, nameOf(next));
    const draft = `${path}.draft`;
    const fd = openSync(draft, 'w', 0o600);
    let bytes = 0;
    const put = (part: Uint8Array): void => {
      writeSync(fd, part);
      bytes += part.length;
    };
    put(encodeHeader(this.cluster));
    for (const record of records) put(frame(record));
    fsyncSync(fd);
    renameSync(draft, path);
    syncFolder(this.folder);
    closeSync(this.fd);
    this.fd = fd;
    this.number = next;
    this.bytes = bytes;
    this.base = bytes;
    removeOthers(this.folder, next);
  }

  close(): void {
    clearInterval(this.timer);
    this.write();
    fdatasyncSync(this.fd);
    closeSync(this.fd);
    rmSync(join(this.folder, LOCK), { force: true });
  }

  private write(): void {
    this.scheduled = false;
    const parts = this.batch;
    if (parts.length === 0) return;
    this.batch = [];
    for (const part of parts) {
      for (let at = 0; at < part.length;) at += writeSync(this.fd, part, at);
      this.bytes += part.length;
    }
    this.dirty = true;
  }

  private sync(): void {
    if (!this.dirty) return;
    this.dirty = false;
    // A file that was closed meanwhile has been synchronised.
    fdatasync(this.fd, () => undefined);
  }
}

const LOCK = 'lock';

/** One scheduler a journal. What a scheduler of this host that is dead has left does not count. */
function lock(folder: string): void {
  const path = join(folder, LOCK);
  for (let tries = 0; tries < 2; tries++) {
    try {
      const fd = openSync(path, 'wx', 0o600);
      writeSync(fd, JSON.stringify({ pid: process.pid, host: hostname() }));
      return closeSync(fd);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = holderOf(path);
    if (holder !== null) {
      throw new ConfigError(
        `The journal in ${folder} belongs to a scheduler that runs: process ${holder}. Choose another ` +
          `folder, or end that one; if it is gone, remove ${path}.`
      );
    }
    rmSync(path, { force: true });
  }
}

function holderOf(path: string): string | null {
  try {
    const { pid, host } = JSON.parse(readFileSync(path, 'utf8')) as { pid: number; host: string };
    if (host !== hostname()) return `${pid} on ${host}`;
    if (pid === process.pid) return null;
    process.kill(pid, 0);
    return String(pid);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'of another user' : null;
  }
}

function nameOf(number: number): string {
  return `journal-${String(number).padStart(6, '0')}.log`;
}

function newest(folder: string): string | null {
  let names: string[];
  try {
    names = readdirSync(folder).filter(name => NAME.test(name));
  } catch {
    return null;
  }
  const last = names.sort().at(-1);
  return last === undefined ? null : join(folder, last);
}

function removeOthers(folder: string, number: number): void {
  for (const name of readdirSync(folder)) {
    const of = NAME.exec(name.replace(/\.draft$/, ''));
    const keep = Number(of?.[1]) === number && !name.endsWith('.draft');
    if (of !== null && !keep) rmSync(join(folder, name), { force: true });
  }
}

/** So that a renamed file is found after the machine fails. */
function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  fsyncSync(fd);
  closeSync(fd);
}
