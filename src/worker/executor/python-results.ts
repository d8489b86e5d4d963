/**
 * Results as a Python executor tells them: a row each, with frames that came along or lie in files.
 */
import type { Family } from '../../serialize/value.ts';
import { frameBytes } from '../store.ts';
import type { StoredValue } from '../store.ts';
import { takeFiles } from '../store/filed.ts';
import type { Failure } from './messages.ts';
import type { LinkMessage } from './python-link.ts';
import type { Result } from './results.ts';

/** As `live` of a row: it is live there and nowhere else. */
const OWNED = 2;

type Row = [
  seq: number,
  start: number,
  duration: number,
  nbytes: number,
  type: string,
  family: Family,
  count: number,
  live: number,
  files: (string | null)[] | null
];

/** Reads a message of results. Files are values as they are. */
export function readResults({ head, frames }: LinkMessage): Result[] {
  const rows = head['rows'] as Row[];
  const failures = head['failures'] as Failure[];
  const results: Result[] = [];
  let at = 0;
  let failed = 0;
  for (const row of rows) {
    const count = Math.max(0, row[6]);
    const own = frames.slice(at, (at += count));
    const failure = row[6] < 0 ? (failures[failed++] ?? null) : null;
    const files = row[8];
    const isFiled = files?.some(file => file !== null) === true;
    results.push(isFiled ? filedResult(row, own, files) : resultOf(row, own, failure));
  }
  return results;
}

type FetchedRow = [family: Family, count: number, files: (string | null)[], error: string];

/** Reads values that were asked for; instead of one that cannot leave, or be read, why. */
export function readFetched({ head, frames }: LinkMessage): (StoredValue | string)[] {
  let at = 0;
  return (head['rows'] as FetchedRow[]).map(([family, count, files, error]) => {
    const own = frames.slice(at, (at += count));
    if (error !== '') return error;
    try {
      if (files.some(file => file !== null)) return takeFiles(family, own, files);
      return { family, frames: own, nbytes: frameBytes(own), type: '' };
    } catch (problem) {
      return (problem as Error).message;
    }
  });
}

function filedResult(row: Row, own: Uint8Array[], files: (string | null)[]): Result {
  try {
    return { ...resultOf(row, [], null), stored: takeFiles(row[5], own, files) };
  } catch (error) {
    return resultOf(row, [], unreadable(error));
  }
}

function unreadable(error: unknown): Failure {
  const text = error instanceof Error ? error.message : String(error);
  const message = `SerializationError: the frames of its result could not be read: ${text}`;
  return { code: 'SERIALIZATION', message, traceback: '', exception: null };
}

/** `failure`: it has failed; else it has succeeded, though it may have stayed without frames. */
function resultOf(row: Row, frames: Uint8Array[], failure: Failure | null): Result {
  const [seq, start, duration, nbytes, type, family, , live] = row;
  return {
    seq,
    start,
    duration,
    nbytes,
    type,
    family,
    frames,
    live: live > 0,
    owned: live === OWNED,
    failure
  };
}
