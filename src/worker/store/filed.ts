/**
 * A value whose large frames lie in files, as Python executors write and map them: in memory, or on
 * disk when there is no room. It is never read here unless somebody asks for its bytes: another process of this machine is handed the
 * files, by their names. Each process has a name of its own for them, a hard link in its own
 * folder, so that the system counts who still needs them: bytes go with the last name and the last
 * mapping, and the names of a process that dies go with its folder.
 */
import {
  closeSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync
} from 'node:fs';
import { read } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { SHARED_MEMORY } from '../../config/host-mark.ts';
import { ProtocolError } from '../../base/errors.ts';
import type { Family } from '../../serialize/value.ts';
import type { StoredValue } from '../store.ts';

/** A file of one of ours: nothing else is linked to, whatever a peer may say. */
const OURS = /^taskloom-(worker|client)-[0-9a-f]{12}-[\w-]+(\/python)?\/[\w.-]+$/;
/** Bytes read at a time. */
const PIECE = 2 ** 26;
const readPiece = promisify(read);

/** A frame that lies in a file. */
interface Filed {
  path: string;
  nbytes: number;
}

/** Where a frame is: in memory of this process, or in a file. */
export type Frame = Uint8Array | Filed;

/** How a process takes part in handing files over. */
export interface Sharing {
  /** Its mark: who has the same sees the same files. */
  host: string;
  /** Where its own names for them are: one in memory, one on disk, or one of both. */
  folders: string[];
}

let unique = 1;

export class FiledValue implements StoredValue {
  readonly family: Family;
  readonly nbytes: number;
  type: string;
  readonly parts: readonly Frame[];
  private readers = 0;
  private discarded = false;

  constructor(family: Family, parts: readonly Frame[], type = '') {
    this.family = family;
    this.parts = parts;
    this.type = type;
    let nbytes = 0;
    for (const part of parts) nbytes += sizeOf(part);
    this.nbytes = nbytes;
  }

  /** Bytes that its files take of the memory. */
  get fileBytes(): number {
    let bytes = 0;
    for (const part of this.parts) {
      if (!isHere(part) && isInMemory(part.path)) bytes += part.nbytes;
    }
    return bytes;
  }

  /** Its bytes, now: for those few who cannot wait. */
  get frames(): Uint8Array[] {
    return this.parts.map(part => {
      if (isHere(part)) return part;
      const { buffer, byteOffset, byteLength } = readFileSync(part.path);
      return new Uint8Array(buffer, byteOffset, byteLength);
    });
  }

  /**
   * Its bytes. It may be let go of meanwhile: its names stay until they have been read, as files
   * without a name are written again.
   */
  async read(): Promise<Uint8Array[]> {
    this.readers++;
    try {
      return await this.readParts();
    } finally {
      if (--this.readers === 0 && this.discarded) this.discard();
    }
  }

  private async readParts(): Promise<Uint8Array[]> {
    const opened = this.parts.map(part => (isHere(part) ? -1 : openSync(part.path, 'r')));
    try {
      const coming = this.parts.map((part, i) =>
        isHere(part) ? part : readAll(opened[i] as number, part.nbytes)
      );
      // All, also when one fails: a file that is closed under a read may be another by then.
      await Promise.allSettled(coming);
      return await Promise.all(coming);
    } finally {
      for (const fd of opened) if (fd >= 0) closeSync(fd);
    }
  }

  /**
   * Names of its files, each a new one that whoever gets it removes; null for frames that are here.
   * `place`: the folder for a name of the file at this path.
   */
  link(place: (path: string) => string, prefix: string): (string | null)[] {
    const made: (string | null)[] = [];
    try {
      for (const part of this.parts) {
        if (isHere(part)) {
          made.push(null);
          continue;
        }
        const path = join(place(part.path), `${prefix}${unique++}`);
        linkSync(part.path, path);
        made.push(path);
      }
    } catch (error) {
      for (const path of made) if (path !== null) rmSync(path, { force: true });
      throw error;
    }
    return made;
  }

  /** The store has let go of it. */
  discard(): void {
    this.discarded = true;
    if (this.readers > 0) return;
    for (const part of this.parts) if (!isHere(part)) rmSync(part.path, { force: true });
  }
}

/** Takes files that were written for us, from our own folder: they get another name. */
export function takeFiles(
  family: Family,
  sent: readonly Uint8Array[],
  files: readonly (string | null)[]
): FiledValue {
  let at = 0;
  const parts = files.map((file): Frame => {
    if (file === null) return sent[at++] as Uint8Array;
    const path = join(dirname(file), `value-${unique++}`);
    renameSync(file, path);
    return { path, nbytes: lstatSync(path).size };
  });
  return new FiledValue(family, parts);
}

/**
 * Takes names of our own for files of another process. Throws ProtocolError for what is no file of
 * Taskloom, and what the system says when it has gone meanwhile.
 */
export function linkFiles(
  folders: readonly string[],
  family: Family,
  frames: readonly (Uint8Array | string)[],
  type: string
): FiledValue {
  const parts: Frame[] = [];
  try {
    for (const frame of frames) {
      if (typeof frame !== 'string') {
        parts.push(frame);
        continue;
      }
      const folder = placeFor(frame, folders);
      const path = join(folder, `value-${unique++}`);
      const root = `${dirname(dirname(folder))}/`;
      if (!frame.startsWith(root) || !OURS.test(frame.slice(root.length))) throw foreign(frame);
      linkSync(frame, path);
      parts.push({ path, nbytes: 0 });
      const info = lstatSync(path);
      if (!info.isFile() || info.uid !== process.getuid?.()) throw foreign(frame);
      parts[parts.length - 1] = { path, nbytes: info.size };
    }
  } catch (error) {
    new FiledValue(family, parts).discard();
    throw error;
  }
  return new FiledValue(family, parts, type);
}

/** Which of these folders is on the file system of a file. Throws ProtocolError when none is. */
export function placeFor(path: string, folders: readonly string[]): string {
  const found = folders.find(folder => isInMemory(folder) === isInMemory(path));
  if (found === undefined) throw foreign(path);
  return found;
}

function isInMemory(path: string): boolean {
  return path.startsWith(`${SHARED_MEMORY}/`);
}

function foreign(path: string): ProtocolError {
  return new ProtocolError(`${path} is no file that a process of Taskloom hands over.`);
}

function isHere(part: Frame): part is Uint8Array {
  return part instanceof Uint8Array;
}

function sizeOf(part: Frame): number {
  return isHere(part) ? part.length : part.nbytes;
}

async function readAll(fd: number, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const { bytesRead } = await readPiece(fd, bytes, at, Math.min(PIECE, size - at), at);
    if (bytesRead === 0) throw new Error('a file of a value ends too early');
    at += bytesRead;
  }
  return bytes;
}
