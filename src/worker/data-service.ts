/**
 * The worker's side of `/data`: gives its values to peers and clients, takes scattered ones. At
 * most so many answers are on their way at once; more askers are told that we are busy.
 */
import type { Socket } from 'node:net';
import { ProtocolError, WorkerMemoryError } from '../base/errors.ts';
import type { DataMessage } from '../comm/data.ts';
import { formatBytes } from '../base/bytes.ts';
import type { Family } from '../serialize/value.ts';
import { removeStaleFolders } from '../config/folder.ts';
import { SHARED_MEMORY } from '../config/host-mark.ts';
import type { PutData } from './state/events.ts';
import { FiledValue, linkFiles } from './store/filed.ts';
import type { Sharing } from './store/filed.ts';
import { frameBytes } from './store.ts';
import type { StoredValue, ValueStore } from './store.ts';

/** Answers on their way at once, twice as many on this host; of a paused worker, fewer. */
const MOST_ANSWERS = 10;
const MOST_WHEN_PAUSED = 1;
/**
 * Answers from so many bytes on are given to two at a time. Who is turned away hears from the
 * scheduler who has got a copy meanwhile: a large value that many want spreads as a tree.
 */
const LARGE_BYTES = 32 * 1024 * 1024;
const MOST_LARGE = 2;
/** Part of the memory limit that may be read from disk at once in order to be sent. */
const FROM_DISK_SHARE = 0.1;
/** ms that scattered values wait at most until others have gone to disk, and between looks. */
const ROOM_LIMIT_MS = 20_000;
const ROOM_LOOK_MS = 20;
/** ms after which the process whose link has closed is looked for: it may take a moment to die. */
const SWEEPS_MS = [200, 2000];

/** Head of an answer to get-data, and of put-data with keys. */
export interface DataHead {
  tids: number[];
  keys: string[];
  families: Family[];
  /** Frames of each value. */
  counts: number[];
  types: string[];
}

export interface DataServiceOptions {
  /** Of the scheduler whose numbers it speaks; '' = any. */
  epoch: string;
  store: ValueStore;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  /** How files are handed over; absent or null: not at all. */
  sharing?: Sharing | null;
  keyOf(tid: number): string;
  isPaused?(): boolean;
  /** Values a client has put into the store. */
  onPut(event: PutData): void;
}

export class DataService {
  private readonly options: DataServiceOptions;
  private answering = 0;
  private answeringLarge = 0;
  /** Links on which files were given. */
  private readonly givers = new WeakSet<Socket>();
  /** Bytes that answers under way have read from disk. */
  private fromDisk = 0;
  /** Bytes given and taken since the start. */
  sentBytes = 0;
  receivedBytes = 0;

  constructor(options: DataServiceOptions) {
    this.options = options;
  }

  readonly handle = async (message: DataMessage, socket: Socket): Promise<DataMessage> => {
    const { op, epoch } = message.head;
    // It speaks the numbers of a scheduler that we do not know yet, or know no more: later.
    const foreign = this.options.epoch !== '' && typeof epoch === 'string';
    if (foreign && epoch !== this.options.epoch) {
      if (op === 'get-data') return { head: { busy: true }, frames: [] };
      throw new ProtocolError('The scheduler that gave these numbers is gone.');
    }
    if (op === 'get-data') return this.get(message, socket);
    if (op === 'put-data') return this.put(message, socket);
    if (op === 'get-host') return { head: { host: this.options.sharing?.host ?? '' }, frames: [] };
    throw new ProtocolError(`A worker's data link does not know ${JSON.stringify(op)}.`);
  };

  private async get(message: DataMessage, socket: Socket): Promise<DataMessage> {
    const { store } = this.options;
    const tids = message.head['tids'] as number[];
    if (!Array.isArray(tids)) throw new ProtocolError('get-data needs a list of tids.');
    let bytes = 0;
    for (const tid of tids) bytes += store.sizeOf(tid);
    const large = bytes >= LARGE_BYTES ? 1 : 0;
    if (this.isFull(socket, large) || this.readsTooMuch(tids)) {
      return { head: { busy: true }, frames: [] };
    }
    const fromDisk = this.bytesOnDisk(tids);
    const begin = (sign: 1 | -1): void => {
      this.answering += sign;
      this.answeringLarge += sign * large;
      this.fromDisk += sign * fromDisk;
    };
    begin(1);
    try {
      const coming = store.pin(tids.filter(tid => store.has(tid)));
      if (coming !== null) await coming;
    } catch (error) {
      begin(-1);
      throw error;
    }
    const { sharing } = this.options;
    const isNear = sharing ? message.head['host'] === sharing.host : false;
    const lent = new Map<number, StoredValue>();
    const answer = await this.answer(tids, lent, isNear).catch((error: unknown) => {
      begin(-1);
      throw error;
    });
    setImmediate(() =>
      whenSent(socket, () => {
        begin(-1);
        for (const [tid, value] of lent) {
          // Another value may have come in its place meanwhile, which others have pinned.
          if (store.get(tid) === value) store.unpin([tid]);
          store.giveBack(value);
        }
      })
    );
    return answer;
  }

  private isFull(socket: Socket, large: 0 | 1): boolean {
    if (large > 0 && this.answeringLarge >= MOST_LARGE) return true;
    if (this.options.isPaused?.() === true) return this.answering >= MOST_WHEN_PAUSED;
    return this.answering >= (isSameHost(socket) ? 2 * MOST_ANSWERS : MOST_ANSWERS);
  }

  /** `isNear`: to one who sees our files, and is given their names. */
  private async answer(
    tids: readonly number[],
    lent: Map<number, StoredValue>,
    isNear: boolean
  ): Promise<DataMessage> {
    const head: DataHead & { missing: number[] } = { ...emptyHead(), missing: [] };
    const coming: (Uint8Array[] | Promise<Uint8Array[]>)[] = [];
    const files: (string | null)[] = [];
    for (const tid of tids) {
      const value = this.options.store.lend(tid);
      if (value === undefined) {
        head.missing.push(tid);
        continue;
      }
      lent.set(tid, value);
      head.tids.push(tid);
      head.keys.push(this.options.keyOf(tid));
      head.families.push(value.family);
      head.types.push(value.type);
      this.sentBytes += value.nbytes;
      if (value instanceof FiledValue) {
        head.counts.push(value.parts.length);
        if (isNear) {
          coming.push(value.parts.filter(part => part instanceof Uint8Array));
          for (const part of value.parts) files.push('path' in part ? part.path : null);
          continue;
        }
        coming.push(value.read());
      } else {
        head.counts.push(value.frames.length);
        coming.push(value.frames);
      }
      for (let i = head.counts.at(-1) ?? 0; i > 0; i--) files.push(null);
    }
    const frames = (await Promise.all(coming)).flat();
    const named = files.some(file => file !== null) ? { files } : {};
    return { head: { ...head, ...named }, frames };
  }

  private bytesOnDisk(tids: readonly number[]): number {
    const { store } = this.options;
    let bytes = 0;
    if (store.spilled === 0) return bytes;
    for (const tid of tids) if (store.get(tid) === undefined) bytes += store.sizeOf(tid);
    return bytes;
  }

  /** Serving what is on disk must not fill memory; one asker at a time always may. */
  private readsTooMuch(tids: readonly number[]): boolean {
    if (this.fromDisk === 0) return false;
    return this.fromDisk + this.bytesOnDisk(tids) > FROM_DISK_SHARE * this.options.memoryLimit;
  }

  private async put(message: DataMessage, socket: Socket): Promise<DataMessage> {
    if (message.head['files'] !== undefined) this.watchGiver(socket);
    const values = readValues(message, this.options.sharing?.folders);
    const keys = message.head['keys'] as string[];
    const { store } = this.options;
    let total = 0;
    for (const { value } of values) total += value.nbytes;
    try {
      if (!Array.isArray(keys) || keys.length !== values.length) {
        throw new ProtocolError('put-data needs a key for every value.');
      }
      if (!(await this.hasRoom(total))) throw this.noRoom(keys[0] ?? '', total);
    } catch (error) {
      for (const { value } of values) value.discard?.();
      throw error;
    }
    this.receivedBytes += total;
    for (const { tid, value } of values) store.put(tid, value);
    this.options.onPut({
      op: 'put-data',
      tids: values.map(({ tid }) => tid),
      keys,
      nbytes: values.map(({ value }) => value.nbytes),
      types: values.map(({ value }) => value.type)
    });
    return { head: { ok: true }, frames: [] };
  }

  /** A client that is killed while it gives us files leaves their folder: it goes with the link. */
  private watchGiver(socket: Socket): void {
    if (this.givers.has(socket)) return;
    this.givers.add(socket);
    socket.once('close', () => {
      for (const ms of SWEEPS_MS) {
        setTimeout(() => removeStaleFolders('client', SHARED_MEMORY), ms).unref();
      }
    });
  }

  /** While others are on their way to disk, scattered values wait for their room. */
  private async hasRoom(bytes: number): Promise<boolean> {
    const { store, memoryLimit } = this.options;
    const until = performance.now() + ROOM_LIMIT_MS;
    for (;;) {
      if (memoryLimit === 0 || store.nbytes - store.spilled + bytes <= memoryLimit) return true;
      if (store.leaving === 0 || performance.now() > until) return false;
      await new Promise(resolve => setTimeout(resolve, ROOM_LOOK_MS));
    }
  }

  private noRoom(key: string, bytes: number): WorkerMemoryError {
    const { store, memoryLimit } = this.options;
    return new WorkerMemoryError(
      key,
      `${formatBytes(bytes)} of scattered data do not fit: the worker's memory limit is ` +
        `${formatBytes(memoryLimit)}, of which ${formatBytes(store.nbytes - store.spilled)} are ` +
        `taken. Scatter in parts, over more workers, or raise memoryLimit.`
    );
  }
}

/** Both ends have one address: nothing crosses a network. */
function isSameHost({ localAddress, remoteAddress }: Socket): boolean {
  return remoteAddress !== undefined && remoteAddress === localAddress;
}

/** Calls back when the operating system has taken all that was written to the socket. */
function whenSent(socket: Socket, act: () => void): void {
  if (socket.destroyed || socket.writableLength === 0) return act();
  const done = (): void => {
    socket.off('drain', done);
    socket.off('close', done);
    act();
  };
  socket.once('drain', done);
  socket.once('close', done);
  // Below its own mark the socket tells of no drain: what is left is little.
  if (!socket.writableNeedDrain) done();
}

function emptyHead(): DataHead {
  return { tids: [], keys: [], families: [], counts: [], types: [] };
}

/** The values of a data message. Throws ProtocolError when its columns do not fit together. */
export function readValues(
  message: DataMessage,
  folders?: readonly string[]
): { tid: number; value: StoredValue }[] {
  const named = namedFrames(message, folders !== undefined);

  const { tids, families, counts, types } = message.head as Partial<DataHead>;
  const columns = [tids, families, counts, types];
  if (!columns.every(column => Array.isArray(column) && column.length === tids?.length)) {
    throw new ProtocolError('The columns of a data message are not of one length.');
  }
  let at = 0;
  const values: { tid: number; value: StoredValue }[] = [];
  const read = (tid: number, i: number): { tid: number; value: StoredValue } => {
    const count = counts?.[i] ?? 0;
    const frames = named.slice(at, at + count);
    if (count < 1 || frames.length !== count) {
      throw new ProtocolError('A data message has other frames than it says.');
    }
    at += count;
    const family = families?.[i] ?? 'js';
    const type = types?.[i] ?? '';
    const here = frames.filter(frame => typeof frame !== 'string');
    if (here.length < frames.length && folders !== undefined) {
      return { tid, value: linkFiles(folders, family, frames, type) };
    }
    return { tid, value: { family, frames: here, nbytes: frameBytes(here), type } };
  };
  try {
    (tids ?? []).forEach((tid, i) => values.push(read(tid, i)));
    if (at !== named.length) {
      throw new ProtocolError('A data message has more frames than it says.');
    }
  } catch (error) {
    for (const { value } of values) value.discard?.();
    throw error;
  }
  return values;
}

/** The frames of a message, those included that it names the files of. */
function namedFrames({ head, frames }: DataMessage, hasAsked: boolean): (Uint8Array | string)[] {
  const files = head['files'] as (string | null)[] | undefined;
  if (files === undefined) return frames;
  if (!hasAsked) throw new ProtocolError('It names files to one who did not ask.');
  const isColumn =
    Array.isArray(files) && files.every(one => one === null || typeof one === 'string');
  let at = 0;
  const all = isColumn ? files.map(file => file ?? frames[at++]) : [];
  if (!isColumn || at !== frames.length || all.includes(undefined)) {
    throw new ProtocolError('A data message has other frames than its column of files says.');
  }
  return all as (Uint8Array | string)[];
}
