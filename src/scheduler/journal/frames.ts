/**
 * The bytes of a journal file: a header, then records, each with a mark, its length and a checksum.
 * Pure: what a damaged file means is decided here, files are opened elsewhere.
 *
 * A record that was being written when its process or machine died is at the very end: a torn tail,
 * which is cut. If a whole record follows a damaged one, the file was damaged later, and what is in
 * it cannot be trusted to be all.
 */
import { TaskloomError } from '../../base/errors.ts';
import { decode, encode } from '../../protocol/codec.ts';

/** Format of the files. A reader takes its own only. */
export const JOURNAL_VERSION = 1;

const MAGIC = 'taskloom journal';
const MARK = 0x544c4a52;
/** mark, length, checksum */
const HEAD = 12;

/** First record of a file. */
export interface JournalHeader {
  magic: string;
  version: number;
  /** The cluster whose journal it is. */
  cluster: { id: string; name: string };
}

export function encodeHeader(cluster: JournalHeader['cluster']): Uint8Array {
  return frame({ magic: MAGIC, version: JOURNAL_VERSION, cluster } satisfies JournalHeader);
}

/** One record as it stands in a file. */
export function frame(record: unknown): Uint8Array {
  const body = encode(record);
  const bytes = new Uint8Array(HEAD + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MARK);
  view.setUint32(4, body.length);
  view.setUint32(8, checksum(body));
  bytes.set(body, HEAD);
  return bytes;
}

export interface JournalContents {
  header: JournalHeader;
  records: unknown[];
  /** Bytes that are whole; what comes after them is torn. */
  whole: number;
}

/** Reads a file. Throws TaskloomError (JOURNAL), naming it and what to do, when it cannot be used. */
export function readJournal(bytes: Uint8Array, path: string): JournalContents {
  const first = recordAt(bytes, 0);
  if (first === null) {
    throw unusable(
      path,
      'it does not begin with a whole header',
      'Move it away to start without it.'
    );
  }
  const header = decode(first.body) as JournalHeader;
  if (header.magic !== MAGIC) {
    throw unusable(path, 'it is no journal', 'Choose another folder.');
  }
  if (header.version !== JOURNAL_VERSION) {
    const versions = `it has version ${header.version}, this scheduler writes ${JOURNAL_VERSION}`;
    throw unusable(path, versions, 'Use the taskloom that wrote it, or move it away.');
  }
  const records: unknown[] = [];
  let at = first.end;
  for (let next = recordAt(bytes, at); next !== null; next = recordAt(bytes, at)) {
    records.push(decode(next.body));
    at = next.end;
  }
  const later = at < bytes.length ? nextRecord(bytes, at + 1) : -1;
  if (later >= 0) {
    throw unusable(
      path,
      `it is damaged from byte ${at} on, before whole records at byte ${later}`,
      `Bring the file back from a copy, or cut it there (truncate -s ${at}) to go on without what ` +
        'came later, or move it away to start without it.'
    );
  }
  return { header, records, whole: at };
}

function unusable(path: string, what: string, advice: string): TaskloomError {
  return new TaskloomError('JOURNAL', `The journal ${path} cannot be used: ${what}. ${advice}`);
}

function recordAt(bytes: Uint8Array, at: number): { body: Uint8Array; end: number } | null {
  if (at + HEAD > bytes.length) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, HEAD);
  if (view.getUint32(0) !== MARK) return null;
  const end = at + HEAD + view.getUint32(4);
  if (end > bytes.length) return null;
  const body = bytes.subarray(at + HEAD, end);
  return checksum(body) === view.getUint32(8) ? { body, end } : null;
}

/** Where the next whole record begins, or -1. */
function nextRecord(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(0x54, from); at >= 0; at = bytes.indexOf(0x54, at + 1)) {
    if (recordAt(bytes, at) !== null) return at;
  }
  return -1;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** CRC-32. */
function checksum(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] as number);
  return (crc ^ 0xffffffff) >>> 0;
}
