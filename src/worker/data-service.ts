/**
 * The worker's side of `/data`: gives its values to peers and clients, takes scattered ones. At
 * most so many answers are on their way at once; more askers are told that we are busy.
 */
import type { Socket } from 'node:net';
import { ProtocolError, WorkerMemoryError } from '../base/errors.ts';
import type { DataMessage } from '../comm/data.ts';
import { formatBytes } from '../base/bytes.ts';
import type { Family } from '../serialize/value.ts';
import type { PutData } from './state/events.ts';
import { frameBytes } from './store.ts';
import type { StoredValue, ValueStore } from './store.ts';

/** Answers on their way at once. */
const MOST_ANSWERS = 10;

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
  store: ValueStore;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  keyOf(tid: number): string;
  /** Values a client has put into the store. */
  onPut(event: PutData): void;
}

export class DataService {
  private readonly options: DataServiceOptions;
  private answering = 0;
  /** Bytes given and taken since the start. */
  sentBytes = 0;
  receivedBytes = 0;

  constructor(options: DataServiceOptions) {
    this.options = options;
  }

  readonly handle = async (message: DataMessage, socket: Socket): Promise<DataMessage> => {
    const { op } = message.head;
    if (op === 'get-data') return this.get(message, socket);
    if (op === 'put-data') return this.put(message);
    throw new ProtocolError(`A worker's data link does not know ${JSON.stringify(op)}.`);
  };

  private get(message: DataMessage, socket: Socket): DataMessage {
    const tids = message.head['tids'];
    if (!Array.isArray(tids)) throw new ProtocolError('get-data needs a list of tids.');
    if (this.answering >= MOST_ANSWERS) return { head: { busy: true }, frames: [] };
    const head: DataHead & { missing: number[] } = { ...emptyHead(), missing: [] };
    const frames: Uint8Array[] = [];
    for (const tid of tids as number[]) {
      const value = this.options.store.get(tid);
      if (value === undefined) {
        head.missing.push(tid);
        continue;
      }
      head.tids.push(tid);
      head.keys.push(this.options.keyOf(tid));
      head.families.push(value.family);
      head.counts.push(value.frames.length);
      head.types.push(value.type);
      frames.push(...value.frames);
      this.sentBytes += value.nbytes;
    }
    this.answering++;
    setImmediate(() => this.released(socket));
    return { head: { ...head }, frames };
  }

  /** Waits until the operating system has taken the answer. */
  private released(socket: Socket): void {
    if (socket.destroyed || socket.writableLength === 0) {
      this.answering--;
      return;
    }
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      this.answering--;
    };
    socket.once('drain', done);
    socket.once('close', done);
    // Below its own mark the socket tells of no drain: what is left is little.
    if (!socket.writableNeedDrain) done();
  }

  private put(message: DataMessage): DataMessage {
    const values = readValues(message);
    const keys = message.head['keys'] as string[];
    if (!Array.isArray(keys) || keys.length !== values.length) {
      throw new ProtocolError('put-data needs a key for every value.');
    }
    const { store, memoryLimit } = this.options;
    let total = 0;
    for (const { value } of values) total += value.nbytes;
    if (memoryLimit > 0 && store.nbytes + total > memoryLimit) {
      throw new WorkerMemoryError(
        keys[0] ?? '',
        `${formatBytes(total)} of scattered data do not fit: the worker's memory limit is ` +
          `${formatBytes(memoryLimit)}, of which ${formatBytes(store.nbytes)} are taken. Scatter ` +
          `in parts, over more workers, or raise memoryLimit.`
      );
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
}

function emptyHead(): DataHead {
  return { tids: [], keys: [], families: [], counts: [], types: [] };
}

/** The values of a data message. Throws ProtocolError when its columns do not fit together. */
export function readValues(message: DataMessage): { tid: number; value: StoredValue }[] {
  const { tids, families, counts, types } = message.head as Partial<DataHead>;
  const columns = [tids, families, counts, types];
  if (!columns.every(column => Array.isArray(column) && column.length === tids?.length)) {
    throw new ProtocolError('The columns of a data message are not of one length.');
  }
  let at = 0;
  const values = (tids ?? []).map((tid, i) => {
    const count = counts?.[i] ?? 0;
    const frames = message.frames.slice(at, at + count);
    if (count < 1 || frames.length !== count) {
      throw new ProtocolError('A data message has other frames than it says.');
    }
    at += count;
    const family = families?.[i] ?? 'js';
    const value = { family, frames, nbytes: frameBytes(frames), type: types?.[i] ?? '' };
    return { tid, value };
  });
  if (at !== message.frames.length) {
    throw new ProtocolError('A data message has more frames than it says.');
  }
  return values;
}
