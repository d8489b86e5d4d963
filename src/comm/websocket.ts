/**
 * Control links over WebSocket. `dial` for the side that connects, `accept` for a socket that the
 * server (server.ts) has already authenticated. Frames are checked against the limits before they
 * are decoded; a bad one closes this link with a coded reason and nothing else. Both ends ping
 * (keep-alive.ts): a peer that vanished without a word is noticed.
 */
import { WebSocket } from 'ws';
import type { RawData } from 'ws';
import {
  AuthenticationError,
  CommClosedError,
  ProtocolError,
  TimeoutError
} from '../base/errors.ts';
import { decodeBatch, encodeBatch } from '../protocol/codec.ts';
import { CLOSE, LIMITS } from '../protocol/limits.ts';
import { TurnBatch } from './connection.ts';
import type { CloseReason, Connection, ConnectionHandlers } from './connection.ts';
import { keepAlive } from './keep-alive.ts';
import type { KeepAliveOptions } from './keep-alive.ts';
import { connectOnThisHost } from './same-host.ts';

type Message = { op: string };

class WebSocketConnection<Out extends Message> implements Connection<Out> {
  readonly peer: string;
  private readonly socket: WebSocket;
  private readonly outbox: TurnBatch<Out>;

  constructor(socket: WebSocket, peer: string) {
    this.socket = socket;
    this.peer = peer;
    this.outbox = new TurnBatch(batch => this.write(batch));
  }

  get isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  get queuedBytes(): number {
    return this.socket.bufferedAmount;
  }

  send(message: Out): void {
    if (this.isOpen) this.outbox.add(message);
  }

  flush(): void {
    this.outbox.flush();
  }

  keepsAlive(keep: boolean): void {
    // A socket without a handle would remember each of these calls for when it connects.
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const { _socket } = this.socket as unknown as { _socket?: { ref(): void; unref(): void } };
    if (keep) _socket?.ref();
    else _socket?.unref();
  }

  close(code: number, reason: string): void {
    this.outbox.flush();
    // A WebSocket close reason holds at most 123 bytes.
    this.socket.close(code, truncateUtf8(reason, 120));
    setTimeout(() => this.socket.terminate(), 2000).unref?.();
  }

  private write(batch: Out[]): void {
    if (!this.isOpen) return;
    const frame = encodeBatch(batch);
    if (frame.length > LIMITS.controlFrameBytes && batch.length > 1) {
      const half = batch.length >> 1;
      this.write(batch.slice(0, half));
      this.write(batch.slice(half));
      return;
    }
    if (this.socket.bufferedAmount + frame.length > LIMITS.outboxBytes) {
      this.socket.close(CLOSE.outboxFull, 'more is queued for this peer than the limit allows');
      this.socket.terminate();
      return;
    }
    this.socket.send(frame, { binary: true, compress: false });
  }
}

function truncateUtf8(text: string, bytes: number): string {
  let cut = text;
  while (Buffer.byteLength(cut) > bytes) cut = cut.slice(0, -1);
  return cut;
}

function asBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}

/** Wraps an open socket. Frames that arrive before this call's turn ends are not lost. */
export function accept<Out extends Message, In extends Message>(
  socket: WebSocket,
  peer: string,
  handlers: ConnectionHandlers<In>,
  alive: KeepAliveOptions = {}
): Connection<Out> {
  const connection = new WebSocketConnection<Out>(socket, peer);
  socket.on('message', (data: RawData, isBinary: boolean) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    try {
      if (!isBinary) throw new ProtocolError('Control frames are binary.');
      handlers.onMessages(decodeBatch<In>(asBytes(data)));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      connection.close(CLOSE.badFrame, error.message);
    }
  });
  // ws reports oversize and malformed frames here and closes with the fitting code itself.
  socket.on('error', () => undefined);
  let lost: CloseReason | null = null;
  keepAlive(
    socket,
    reason => {
      lost = { code: CLOSE.unresponsive, reason };
      socket.terminate();
    },
    alive
  );
  socket.once('close', (code, reason) =>
    handlers.onClose(lost ?? { code, reason: reason.toString() })
  );
  return connection;
}

export interface DialOptions {
  /** `http://host:port` */
  address: string;
  /** Route of the link, such as `/client`. */
  path: string;
  token: string;
  /** Default 10 s. */
  timeoutMs?: number;
  keepAlive?: KeepAliveOptions;
}

/** Opens a link. Rejects with AuthenticationError, TimeoutError or CommClosedError. */
export async function dial<Out extends Message, In extends Message>(
  options: DialOptions,
  handlers: ConnectionHandlers<In>
): Promise<Connection<Out>> {
  const local = await connectOnThisHost(options.address);
  const url = options.address.replace(/^http/, 'ws') + options.path;
  const timeoutMs = options.timeoutMs ?? 10_000;
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, {
      headers: { Authorization: `Bearer ${options.token}` },
      perMessageDeflate: false,
      maxPayload: LIMITS.controlFrameBytes,
      handshakeTimeout: timeoutMs,
      ...(local === null ? {} : { createConnection: () => local })
    });
    let connection: Connection<Out> | null = null;
    const fail = (error: Error): void => {
      if (connection === null) reject(dialError(error, options, timeoutMs));
    };
    socket.once('error', fail);
    socket.once('unexpected-response', (_request, response) => {
      fail(new Error(`status ${response.statusCode}`));
      socket.terminate();
    });
    socket.once('open', () => {
      connection = accept<Out, In>(socket, options.address, handlers, options.keepAlive);
      socket.off('error', fail);
      resolve(connection);
    });
  });
}

function dialError(error: Error, options: DialOptions, timeoutMs: number): Error {
  if (/\b40[13]\b/.test(error.message)) return new AuthenticationError(options.address);
  if (/timed out/.test(error.message)) {
    return new TimeoutError(
      `${options.address} did not answer within ${timeoutMs / 1000} s. Is the address right, and is ` +
        `the cluster's host reachable from here?`
    );
  }
  return new CommClosedError(
    `Cannot connect to ${options.address}: ${error.message}. If the cluster has ended, start a new ` +
      `one; taskloom cluster ls shows those that run.`,
    { cause: error }
  );
}
