/**
 * A control link between two processes: messages in order, in batches, until it closes.
 *
 * `send` never blocks and never throws: what one turn of the loop sends to a peer leaves as one
 * frame when the turn ends. A link that is closed drops what is sent; whoever owns the link learns
 * of it once, through `onClose`.
 */

export interface CloseReason {
  /** WebSocket close code (protocol/limits.ts CLOSE), 1006 when the peer vanished. */
  code: number;
  reason: string;
}

export interface ConnectionHandlers<In> {
  /** All messages of one frame, in order. An exception here closes the link (CLOSE.badFrame). */
  onMessages(messages: In[]): void;
  /** Called exactly once. */
  onClose(reason: CloseReason): void;
}

export interface Connection<Out> {
  readonly peer: string;
  readonly isOpen: boolean;
  send(message: Out): void;
  /** Sends what this turn has gathered now, for a sender that has gathered already. */
  flush(): void;
  /** Flushes, then closes. */
  close(code: number, reason: string): void;
  /** Bytes accepted and not yet handed to the operating system. */
  readonly queuedBytes: number;
  /** Whether the open link keeps the process running. It does until told otherwise. */
  keepsAlive(keep: boolean): void;
}

/**
 * Collects the messages of one turn and hands them on as a batch when the turn ends.
 */
export class TurnBatch<Out> {
  private batch: Out[] = [];
  private scheduled: NodeJS.Immediate | null = null;
  private readonly flushBatch: (batch: Out[]) => void;

  constructor(flushBatch: (batch: Out[]) => void) {
    this.flushBatch = flushBatch;
  }

  add(message: Out): void {
    this.batch.push(message);
    this.scheduled ??= setImmediate(this.flush);
  }

  readonly flush = (): void => {
    if (this.scheduled !== null) clearImmediate(this.scheduled);
    this.scheduled = null;
    if (this.batch.length === 0) return;
    const batch = this.batch;
    this.batch = [];
    this.flushBatch(batch);
  };

  clear(): void {
    this.batch = [];
  }
}
