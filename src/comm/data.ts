/**
 * Values travel here: straight between workers and clients, never through the scheduler. A raw
 * socket handed over by HTTP Upgrade (`taskloom-data`, same port, same token) carries
 *
 *   magic 'TLD1' · u32 head bytes · u32 frame count · f64 length of each frame · head · frames
 *
 * (little-endian), a msgpack head with an `id` that the answer repeats, then raw frames, copied
 * once. Docs: docs/protocol.md.
 */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { AuthenticationError, CommClosedError, ProtocolError } from '../base/errors.ts';
import { decode, encode } from '../protocol/codec.ts';
import { LIMITS } from '../protocol/limits.ts';
import { UpgradeReader, upgradeAnswer, upgradeRequest } from './upgrade.ts';

const MAGIC = 0x31444c54;
const PREFIX = 12;
export const DATA_PROTOCOL = 'taskloom-data';

/** A head and its raw frames. */
export interface DataMessage<Head = Record<string, unknown>> {
  head: Head;
  frames: Uint8Array[];
}

/** Cuts a byte stream into messages. Throws ProtocolError as soon as a limit is passed. */
export class DataReader {
  private pending: Uint8Array[] = [];
  private pendingBytes = 0;
  private lengths: number[] | null = null;
  private headBytes = 0;
  private frameCount = 0;
  private head: Record<string, unknown> | null = null;
  private frames: Uint8Array[] = [];
  private current: Uint8Array | null = null;
  private filled = 0;
  private readonly onMessage: (message: DataMessage) => void;
  private readonly admit: (head: Record<string, unknown>, bytes: number) => void;

  /** `admit` throws when so many bytes must not come with this head: before room is made for them. */
  constructor(
    onMessage: (message: DataMessage) => void,
    admit: (head: Record<string, unknown>, bytes: number) => void = () => undefined
  ) {
    this.onMessage = onMessage;
    this.admit = admit;
  }

  push(chunk: Uint8Array): void {
    let rest: Uint8Array | null = chunk;
    while (rest !== null) rest = this.head === null ? this.readHead(rest) : this.readFrame(rest);
  }

  private take(chunk: Uint8Array, need: number): Uint8Array | null {
    if (this.pendingBytes + chunk.length < need) {
      this.pending.push(chunk);
      this.pendingBytes += chunk.length;
      return null;
    }
    if (this.pendingBytes === 0) return chunk;
    const whole = Buffer.concat([...this.pending, chunk]);
    this.pending = [];
    this.pendingBytes = 0;
    return whole;
  }

  /** Reads prefix, lengths and head; returns the bytes after them, or null when more must come. */
  private readHead(chunk: Uint8Array): Uint8Array | null {
    if (chunk.length === 0 && this.pendingBytes === 0) return null;
    let need = PREFIX;
    if (this.lengths !== null) need = PREFIX + 8 * this.frameCount + this.headBytes;
    const bytes = this.take(chunk, need);
    if (bytes === null) return null;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint32(0, true) !== MAGIC) throw new ProtocolError('Not a taskloom-data message.');
    this.headBytes = view.getUint32(4, true);
    this.frameCount = view.getUint32(8, true);
    if (this.headBytes > LIMITS.dataHeadBytes) throw new ProtocolError('A data head is too large.');
    if (this.frameCount > LIMITS.dataFrames) throw new ProtocolError('Too many data frames.');
    this.lengths = [];
    need = PREFIX + 8 * this.frameCount + this.headBytes;
    if (bytes.length < need) return this.keep(bytes);
    for (let i = 0; i < this.frameCount; i++) {
      const length = view.getFloat64(PREFIX + 8 * i, true);
      if (!(length >= 0 && length <= LIMITS.dataFrameBytes) || !Number.isInteger(length)) {
        throw new ProtocolError(`A data frame of ${length} bytes is not allowed.`);
      }
      this.lengths.push(length);
    }
    const head = decode(bytes.subarray(need - this.headBytes, need));
    if (typeof head !== 'object' || head === null) {
      throw new ProtocolError('A data head must be a map.');
    }
    this.head = head as Record<string, unknown>;
    let total = 0;
    for (const length of this.lengths) total += length;
    this.admit(this.head, total);
    return this.nextFrame(bytes.subarray(need));
  }

  private keep(bytes: Uint8Array): null {
    this.pending = [bytes];
    this.pendingBytes = bytes.length;
    return null;
  }

  private nextFrame(rest: Uint8Array): Uint8Array | null {
    const lengths = this.lengths ?? [];
    while (this.frames.length < lengths.length && lengths[this.frames.length] === 0) {
      this.frames.push(new Uint8Array(0));
    }
    if (this.frames.length === lengths.length) {
      const message = { head: this.head ?? {}, frames: this.frames };
      this.head = null;
      this.lengths = null;
      this.frames = [];
      this.onMessage(message);
      return rest.length === 0 ? null : rest;
    }
    this.current = new Uint8Array(lengths[this.frames.length] ?? 0);
    this.filled = 0;
    return rest;
  }

  private readFrame(chunk: Uint8Array): Uint8Array | null {
    const current = this.current;
    if (current === null) throw new Error('readFrame without a frame');
    if (chunk.length === 0) return null;
    const size = Math.min(chunk.length, current.length - this.filled);
    current.set(chunk.subarray(0, size), this.filled);
    this.filled += size;
    if (this.filled < current.length) return null;
    this.frames.push(current);
    this.current = null;
    return this.nextFrame(chunk.subarray(size));
  }
}

/** Writes a message; resolves with false when the socket wants a pause (its own back-pressure). */
export function writeData(socket: Socket, message: DataMessage): boolean {
  const head = encode(message.head);
  const prefix = Buffer.alloc(PREFIX + 8 * message.frames.length);
  prefix.writeUInt32LE(MAGIC, 0);
  prefix.writeUInt32LE(head.length, 4);
  prefix.writeUInt32LE(message.frames.length, 8);
  message.frames.forEach((frame, i) => prefix.writeDoubleLE(frame.length, PREFIX + 8 * i));
  socket.cork();
  socket.write(prefix);
  let more = socket.write(head);
  for (const frame of message.frames) if (frame.length > 0) more = socket.write(frame);
  socket.uncork();
  return more;
}

/**
 * Answers one request; `socket` is where the answer will be written. Rejections become an answer
 * with `error` and the link goes on.
 */
export type DataHandler = (message: DataMessage, socket: Socket) => Promise<DataMessage>;

/** Takes a server's upgraded socket and serves requests on it. */
export function serveData(socket: Socket, first: Uint8Array, handler: DataHandler): void {
  socket.write(upgradeAnswer(DATA_PROTOCOL));
  const reader = new DataReader(message => {
    const id = message.head['id'];
    handler(message, socket).then(
      answer => {
        if (!socket.destroyed)
          writeData(socket, { head: { ...answer.head, id }, frames: answer.frames });
      },
      (error: unknown) => {
        const text = error instanceof Error ? error.message : String(error);
        if (!socket.destroyed) writeData(socket, { head: { id, error: text }, frames: [] });
      }
    );
  });
  const push = (chunk: Uint8Array): void => {
    try {
      reader.push(chunk);
    } catch {
      socket.destroy();
    }
  };
  socket.setNoDelay(true);
  socket.setKeepAlive(true, LIMITS.keepAliveMs);
  socket.on('data', push);
  socket.on('error', () => socket.destroy());
  // A server's sockets stay half open: who has gone wants no answer, and would be kept for ever.
  socket.once('end', () => socket.destroy());
  if (first.length > 0) push(first);
}

interface Waiting {
  /** An answer with more is cut off. */
  mostBytes: number;
  resolve(message: DataMessage): void;
  reject(error: Error): void;
}

/** One outgoing data link; requests may overlap. */
class DataLink {
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  readonly socket: Socket;
  private readonly address: string;
  private watch: NodeJS.Timeout | null = null;
  private readonly silenceMs: number;
  /** Why this side has ended it, or ''. */
  private why = '';

  constructor(socket: Socket, address: string, first: Uint8Array, silenceMs: number) {
    this.socket = socket;
    this.address = address;
    this.silenceMs = silenceMs;
    const reader = new DataReader(
      message => this.answer(message),
      (head, bytes) => this.admit(head, bytes)
    );
    const push = (chunk: Uint8Array): void => {
      try {
        reader.push(chunk);
      } catch (error) {
        this.why = ` It was cut off: ${(error as Error).message}`;
        socket.destroy();
      }
    };
    socket.on('data', push);
    socket.on('close', () => this.fail());
    socket.on('error', () => undefined);
    if (first.length > 0) push(first);
  }

  request(message: DataMessage, mostBytes: number): Promise<DataMessage> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) {
        reject(new CommClosedError(`${this.address} closed its data link.`));
        return;
      }
      this.waiting.set(id, { resolve, reject, mostBytes });
      this.socket.ref();
      this.watchSilence();
      writeData(this.socket, { head: { ...message.head, id }, frames: message.frames });
    });
  }

  private admit(head: Record<string, unknown>, bytes: number): void {
    const most = this.waiting.get(head['id'] as number)?.mostBytes ?? 0;
    if (bytes > most) throw new ProtocolError(`An answer of ${bytes} bytes, ${most} at most.`);
  }

  private answer(message: DataMessage): void {
    const waiting = this.waiting.get(message.head['id'] as number);
    if (waiting === undefined) return;
    this.waiting.delete(message.head['id'] as number);
    // An idle link does not keep a script alive.
    if (this.waiting.size === 0) this.socket.unref();
    const error = message.head['error'];
    if (typeof error === 'string') waiting.reject(new CommClosedError(`${this.address}: ${error}`));
    else waiting.resolve(message);
  }

  /** While an answer is owed, bytes must move: one way or the other, between two of these looks. */
  private watchSilence(): void {
    if (this.watch !== null) return;
    let moved = -1;
    this.watch = setInterval(() => {
      const { bytesRead, bytesWritten, writableLength } = this.socket;
      const now = bytesRead + bytesWritten - writableLength;
      if (this.waiting.size === 0) this.stopWatch();
      else if (now === moved) {
        this.why = ` It said nothing for ${this.silenceMs / 1000} s.`;
        this.socket.destroy();
      }
      moved = now;
    }, this.silenceMs);
    this.watch.unref?.();
  }

  private stopWatch(): void {
    if (this.watch !== null) clearInterval(this.watch);
    this.watch = null;
  }

  private fail(): void {
    this.stopWatch();
    const error = new CommClosedError(`${this.address} closed its data link.${this.why}`);
    for (const waiting of this.waiting.values()) waiting.reject(error);
    this.waiting.clear();
  }
}

/** Outgoing data links by address, one each, opened when first needed. */
export class DataPool {
  private readonly links = new Map<string, Promise<DataLink>>();
  private readonly token: string;
  private readonly silenceMs: number;

  /** `silenceMs`: without a byte for so long, while an answer is owed, a link is given up. */
  constructor(token: string, silenceMs: number = LIMITS.dataSilenceMs) {
    this.token = token;
    this.silenceMs = silenceMs;
  }

  /** `mostBytes`: what the frames of the answer may take; more ends the link. */
  async request(address: string, message: DataMessage, mostBytes = Infinity): Promise<DataMessage> {
    let opening = this.links.get(address);
    if (opening === undefined) {
      opening = openDataLink(address, this.token, this.silenceMs);
      this.links.set(address, opening);
      opening.then(
        link => link.socket.once('close', () => this.forget(address, opening)),
        () => this.forget(address, opening)
      );
    }
    return (await opening).request(message, mostBytes);
  }

  private forget(address: string, opening: Promise<DataLink> | undefined): void {
    if (this.links.get(address) === opening) this.links.delete(address);
  }

  close(): void {
    for (const opening of this.links.values()) {
      opening.then(
        link => link.socket.destroy(),
        () => undefined
      );
    }
    this.links.clear();
  }
}

function openDataLink(address: string, token: string, silenceMs: number): Promise<DataLink> {
  const url = new URL(address);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) });
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(
        error instanceof AuthenticationError
          ? error
          : new CommClosedError(`Cannot open a data link to ${address}: ${error.message}`, {
              cause: error
            })
      );
    };
    const answer = new UpgradeReader();
    const timer = setTimeout(() => fail(new Error('no answer')), LIMITS.handshakeMs);
    const onData = (chunk: Buffer): void => {
      let rest: Uint8Array | null;
      try {
        rest = answer.push(chunk);
      } catch (error) {
        const refused = / 40[13]/.test((error as Error).message);
        fail(refused ? new AuthenticationError(address) : (error as Error));
        return;
      }
      if (rest === null) return;
      clearTimeout(timer);
      socket.off('data', onData);
      socket.off('error', fail);
      socket.off('close', onClose);
      resolve(new DataLink(socket, address, rest, silenceMs));
    };
    const onClose = (): void => fail(new Error('closed during the handshake'));
    socket.setNoDelay(true);
    socket.setKeepAlive(true, LIMITS.keepAliveMs);
    socket.on('data', onData);
    socket.once('error', fail);
    socket.once('close', onClose);
    socket.write(upgradeRequest({ host: url.host, path: '/data', token }, DATA_PROTOCOL));
  });
}
