/**
 * Control links. `dial` for the side that connects, `accept` for a wire that the server (server.ts)
 * has already authenticated. Frames are checked against the limits before they are decoded; a bad
 * one closes this link with a coded reason and nothing else. Both ends ping (keep-alive.ts): a peer
 * that vanished without a word is noticed.
 */
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
import { dialFrames } from './frames.ts';
import { keepAlive } from './keep-alive.ts';
import type { KeepAliveOptions } from './keep-alive.ts';
import { dialWebSocket } from './websocket.ts';
import type { Wire } from './wire.ts';

type Message = { op: string };

class WireConnection<Out extends Message> implements Connection<Out> {
  readonly peer: string;
  private readonly wire: Wire;
  private readonly outbox: TurnBatch<Out>;

  constructor(wire: Wire, peer: string) {
    this.wire = wire;
    this.peer = peer;
    this.outbox = new TurnBatch(batch => this.write(batch));
  }

  get isOpen(): boolean {
    return this.wire.isOpen;
  }

  get queuedBytes(): number {
    return this.wire.queuedBytes;
  }

  send(message: Out): void {
    if (this.isOpen) this.outbox.add(message);
  }

  flush(): void {
    this.outbox.flush();
  }

  keepsAlive(keep: boolean): void {
    this.wire.keepsAlive(keep);
  }

  close(code: number, reason: string): void {
    this.outbox.flush();
    // A WebSocket close reason holds at most 123 bytes.
    this.wire.close(code, truncateUtf8(reason, 120));
    setTimeout(() => this.wire.terminate(), 2000).unref?.();
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
    if (this.wire.queuedBytes + frame.length > LIMITS.outboxBytes) {
      this.wire.close(CLOSE.outboxFull, 'more is queued for this peer than the limit allows');
      this.wire.terminate();
      return;
    }
    this.wire.send(frame);
  }
}

function truncateUtf8(text: string, bytes: number): string {
  let cut = text;
  while (Buffer.byteLength(cut) > bytes) cut = cut.slice(0, -1);
  return cut;
}

/** Wraps an open wire. Frames that arrive before this call's turn ends are not lost. */
export function accept<Out extends Message, In extends Message>(
  wire: Wire,
  peer: string,
  handlers: ConnectionHandlers<In>,
  alive: KeepAliveOptions = {}
): Connection<Out> {
  const connection = new WireConnection<Out>(wire, peer);
  let lost: CloseReason | null = null;
  const stopPings = keepAlive(
    wire,
    reason => {
      lost = { code: CLOSE.unresponsive, reason };
      wire.terminate();
    },
    alive
  );
  wire.listen({
    onFrame: (frame, text) => {
      try {
        if (text) throw new ProtocolError('Control frames are binary.');
        handlers.onMessages(decodeBatch<In>(frame));
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        connection.close(CLOSE.badFrame, error.message);
      }
    },
    onClose: (code, reason) => {
      stopPings();
      handlers.onClose(lost ?? { code, reason });
    }
  });
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
  const { address, path, token } = options;
  const timeoutMs = options.timeoutMs ?? 10_000;
  const open = (wire: Wire): Connection<Out> =>
    accept<Out, In>(wire, address, handlers, options.keepAlive);
  try {
    const url = address.replace(/^http/, 'ws') + path;
    return (
      (await dialFrames({ address, path, token }, timeoutMs, open)) ??
      (await dialWebSocket(url, token, timeoutMs, open))
    );
  } catch (error) {
    throw dialError(error as Error, options, timeoutMs);
  }
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
