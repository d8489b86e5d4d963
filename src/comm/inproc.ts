/**
 * A control link inside one process, for a scheduler and worker or client that share it. Same
 * contract as WebSocket (order, batches by turn, close once), including the codec, so that what
 * works here works between processes.
 */
import { decodeBatch, encodeBatch } from '../protocol/codec.ts';
import { CLOSE } from '../protocol/limits.ts';
import { ProtocolError } from '../base/errors.ts';
import { TurnBatch } from './connection.ts';
import type { CloseReason, Connection, ConnectionHandlers } from './connection.ts';

type Message = { op: string };

class InprocEnd<Out extends Message, In extends Message> implements Connection<Out> {
  readonly peer: string;
  readonly queuedBytes = 0;
  isOpen = true;
  other: InprocEnd<In, Out> | null = null;
  private handlers: ConnectionHandlers<In> | null = null;
  private early: Uint8Array[] = [];
  private readonly outbox = new TurnBatch<Out>(batch => this.other?.receive(encodeBatch(batch)));

  constructor(peer: string) {
    this.peer = peer;
  }

  attach(handlers: ConnectionHandlers<In>): this {
    this.handlers = handlers;
    const early = this.early;
    this.early = [];
    for (const frame of early) this.receive(frame);
    return this;
  }

  keepsAlive(): void {
    // Nothing of the operating system's is held.
  }

  send(message: Out): void {
    if (this.isOpen) this.outbox.add(message);
  }

  flush(): void {
    this.outbox.flush();
  }

  close(code: number, reason: string): void {
    if (!this.isOpen) return;
    this.outbox.flush();
    const other = this.other;
    this.ended({ code, reason });
    setImmediate(() => other?.ended({ code, reason }));
  }

  private receive(frame: Uint8Array): void {
    if (!this.isOpen) return;
    if (this.handlers === null) {
      this.early.push(frame);
      return;
    }
    try {
      this.handlers.onMessages(decodeBatch<In>(frame));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(CLOSE.badFrame, error.message);
    }
  }

  private ended(reason: CloseReason): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.outbox.clear();
    this.handlers?.onClose(reason);
  }
}

/** The attach function of one end: gives it its handlers and returns the connection. */
export type Attach<Out, In> = (handlers: ConnectionHandlers<In>) => Connection<Out>;

/** Two ends of one link; what one sends the other receives. */
export function inprocPair<A extends Message, B extends Message>(
  nameA: string,
  nameB: string
): [Attach<A, B>, Attach<B, A>] {
  const a = new InprocEnd<A, B>(nameB);
  const b = new InprocEnd<B, A>(nameA);
  a.other = b;
  b.other = a;
  return [handlers => a.attach(handlers), handlers => b.attach(handlers)];
}
