/** A WebSocket as a wire: what browsers speak and proxies pass on. */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { RawData } from 'ws';
import { LIMITS } from '../protocol/limits.ts';
import type { Wire, WireHandlers } from './wire.ts';

export class WebSocketWire implements Wire {
  private readonly socket: WebSocket;
  private readonly raw: Socket | undefined;
  private pongs = 0;

  /** Takes an open socket. */
  constructor(socket: WebSocket) {
    this.socket = socket;
    this.raw = (socket as unknown as { _socket?: Socket })._socket;
    this.raw?.setKeepAlive?.(true, LIMITS.keepAliveMs);
  }

  get isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  get queuedBytes(): number {
    return this.socket.bufferedAmount;
  }

  get heard(): number {
    return (this.raw?.bytesRead ?? 0) + this.pongs;
  }

  listen({ onFrame, onClose }: WireHandlers): void {
    this.socket.on('message', (data: RawData, isBinary: boolean) => {
      if (this.isOpen) onFrame(asBytes(data), !isBinary);
    });
    this.socket.on('pong', () => this.pongs++);
    // ws reports oversize and malformed frames here and closes with the fitting code itself.
    this.socket.on('error', () => undefined);
    this.socket.once('close', (code, reason) => onClose(code, reason.toString()));
  }

  send(frame: Uint8Array): void {
    this.socket.send(frame, { binary: true, compress: false });
  }

  ping(): void {
    this.socket.ping();
  }

  close(code: number, reason: string): void {
    this.socket.close(code, reason);
  }

  terminate(): void {
    this.socket.terminate();
  }

  keepsAlive(keep: boolean): void {
    // A socket without a handle would remember each of these calls for when it connects.
    if (!this.isOpen) return;
    if (keep) this.raw?.ref();
    else this.raw?.unref();
  }
}

function asBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}

/**
 * Opens a WebSocket and resolves with what `open` makes of it, before any frame has come. Rejects
 * with the error of ws, `status 401` when it was refused.
 */
export function dialWebSocket<T>(
  url: string,
  token: string,
  timeoutMs: number,
  open: (wire: Wire) => T
): Promise<T> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, {
      headers: { Authorization: `Bearer ${token}` },
      perMessageDeflate: false,
      maxPayload: LIMITS.controlFrameBytes,
      handshakeTimeout: timeoutMs
    });
    socket.once('error', reject);
    socket.once('unexpected-response', (_request, response) => {
      reject(new Error(`status ${response.statusCode}`));
      socket.terminate();
    });
    socket.once('open', () => {
      const made = open(new WebSocketWire(socket));
      socket.off('error', reject);
      resolve(made);
    });
  });
}
