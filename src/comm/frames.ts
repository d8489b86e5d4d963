/**
 * The wire within a machine: a socket handed over by HTTP Upgrade (`taskloom-link`, same routes and
 * token as the WebSocket) that carries
 *
 *   u32 bytes of the body (little-endian) · u8 kind · body
 *
 * A WebSocket does more than a link needs where no browser and no proxy is, and costs more for
 * every message ([decision 59](../../docs/decisions/0059-plain-frames-within-a-machine.md)).
 */
import type { Socket } from 'node:net';
import { ProtocolError } from '../base/errors.ts';
import { CLOSE, LIMITS } from '../protocol/limits.ts';
import { connectOnThisHost } from './same-host.ts';
import { UpgradeReader, upgradeAnswer, upgradeRequest } from './upgrade.ts';
import type { Wire, WireHandlers } from './wire.ts';

export const LINK_PROTOCOL = 'taskloom-link';

const HEAD = 5;
const KIND = { frame: 0, ping: 1, pong: 2, close: 3 } as const;
/** Bodies of fewer bytes are written in one piece with their head. */
const COPIED_BYTES = 16 * 1024;
const NO_WORD = 1006;
const NOTHING = new Uint8Array(0);

/** Cuts a stream of bytes into frames. Throws ProtocolError when one is larger than allowed. */
export class FrameReader {
  private readonly head = Buffer.alloc(HEAD);
  private headFilled = 0;
  private body: Uint8Array | null = null;
  private bodyFilled = 0;
  private readonly onFrame: (kind: number, body: Uint8Array) => void;

  /** The body holds until `onFrame` returns. */
  constructor(onFrame: (kind: number, body: Uint8Array) => void) {
    this.onFrame = onFrame;
  }

  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) at = this.body === null ? this.begin(chunk, at) : this.go(chunk, at);
  }

  /** Reads a head, and the body where all of it is there. */
  private begin(chunk: Uint8Array, from: number): number {
    let at = from;
    while (this.headFilled < HEAD && at < chunk.length) {
      this.head[this.headFilled++] = chunk[at++] ?? 0;
    }
    if (this.headFilled < HEAD) return at;
    const bytes = this.head.readUInt32LE(0);
    if (bytes > LIMITS.controlFrameBytes) {
      throw new ProtocolError(`A frame of ${bytes} bytes is too large.`);
    }
    if (chunk.length - at < bytes) {
      this.body = new Uint8Array(bytes);
      this.bodyFilled = 0;
      return at;
    }
    this.headFilled = 0;
    this.onFrame(this.head[4] ?? 0, chunk.subarray(at, at + bytes));
    return at + bytes;
  }

  /** Reads on in a body that came in pieces. */
  private go(chunk: Uint8Array, at: number): number {
    const body = this.body ?? NOTHING;
    const end = Math.min(chunk.length, at + body.length - this.bodyFilled);
    body.set(chunk.subarray(at, end), this.bodyFilled);
    this.bodyFilled += end - at;
    if (this.bodyFilled < body.length) return end;
    this.body = null;
    this.headFilled = 0;
    this.onFrame(this.head[4] ?? 0, body);
    return end;
  }
}

/** A socket after its upgrade; whoever reads it calls `push`. */
export class FrameWire implements Wire {
  heard = 0;
  private readonly socket: Socket;
  private readonly reader = new FrameReader((kind, body) => this.take(kind, body));
  private handlers: WireHandlers | null = null;
  /** Why it ends: the peer's word, else ours. */
  private ending: { code: number; reason: string } | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => socket.destroy());
    // Sockets of servers stay half open: who has gone wants no answer, and would be kept for ever.
    socket.once('end', () => {
      if (this.ending === null) socket.destroy();
    });
    socket.once('close', () => {
      const { code, reason } = this.ending ?? { code: NO_WORD, reason: '' };
      this.handlers?.onClose(code, reason);
    });
  }

  get isOpen(): boolean {
    return this.ending === null && !this.socket.destroyed;
  }

  get queuedBytes(): number {
    return this.socket.writableLength;
  }

  listen(handlers: WireHandlers): void {
    this.handlers = handlers;
  }

  /** Takes bytes that came; they are read before this returns. */
  push(chunk: Uint8Array): void {
    this.heard += chunk.length;
    try {
      this.reader.push(chunk);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(CLOSE.frameTooLarge, error.message);
      this.socket.destroySoon();
    }
  }

  send(frame: Uint8Array): void {
    this.write(KIND.frame, frame);
  }

  ping(): void {
    this.write(KIND.ping, NOTHING);
  }

  close(code: number, reason: string): void {
    if (!this.isOpen) return;
    const text = Buffer.from(reason);
    const body = Buffer.alloc(2 + text.length);
    body.writeUInt16LE(code, 0);
    body.set(text, 2);
    this.write(KIND.close, body);
    this.ending = { code, reason };
    this.socket.end();
  }

  terminate(): void {
    this.socket.destroy();
  }

  keepsAlive(keep: boolean): void {
    if (keep) this.socket.ref();
    else this.socket.unref();
  }

  private write(kind: number, body: Uint8Array): void {
    if (!this.isOpen) return;
    const whole = body.length < COPIED_BYTES;
    const bytes = Buffer.allocUnsafe(whole ? HEAD + body.length : HEAD);
    bytes.writeUInt32LE(body.length, 0);
    bytes[4] = kind;
    if (whole) {
      bytes.set(body, HEAD);
      this.socket.write(bytes);
    } else {
      this.socket.cork();
      this.socket.write(bytes);
      this.socket.write(body);
      this.socket.uncork();
    }
  }

  private take(kind: number, body: Uint8Array): void {
    // What comes after the end was on its way when it was said.
    if (kind === KIND.close && body.length >= 2) {
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
      this.ending = { code: bytes.readUInt16LE(0), reason: bytes.toString('utf8', 2) };
      this.socket.end();
    } else if (!this.isOpen) return;
    else if (kind === KIND.frame) this.handlers?.onFrame(body, false);
    else if (kind === KIND.ping) this.write(KIND.pong, NOTHING);
  }
}

/** Takes a server's upgraded socket; `open` is called before the first frame is read. */
export function serveFrames(socket: Socket, first: Uint8Array, open: (wire: Wire) => void): void {
  socket.write(upgradeAnswer(LINK_PROTOCOL));
  const wire = new FrameWire(socket);
  open(wire);
  if (first.length > 0) wire.push(first);
  socket.on('data', (chunk: Buffer) => wire.push(chunk));
}

/**
 * Opens a wire over a scheduler's socket file and resolves with what `open` makes of it, before any
 * frame has come; with null where there is no such way. Rejects as dialWebSocket does.
 */
export async function dialFrames<T>(
  { address, path, token }: { address: string; path: string; token: string },
  timeoutMs: number,
  open: (wire: Wire) => T
): Promise<T | null> {
  let take: (chunk: Uint8Array) => void = () => undefined;
  const socket = await connectOnThisHost(address, chunk => take(chunk));
  if (socket === null) return null;
  return new Promise((resolve, reject) => {
    const answer = new UpgradeReader();
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const onClose = (): void => fail(new Error('closed during the handshake'));
    const timer = setTimeout(() => fail(new Error('the handshake timed out')), timeoutMs);
    socket.once('error', fail);
    socket.once('close', onClose);
    take = chunk => {
      let rest: Uint8Array | null;
      try {
        rest = answer.push(chunk);
      } catch (error) {
        fail(error as Error);
        return;
      }
      if (rest === null) return;
      clearTimeout(timer);
      socket.off('error', fail);
      socket.off('close', onClose);
      const wire = new FrameWire(socket);
      resolve(open(wire));
      take = bytes => wire.push(bytes);
      if (rest.length > 0) wire.push(rest);
    };
    socket.write(upgradeRequest({ host: new URL(address).host, path, token }, LINK_PROTOCOL));
  });
}
