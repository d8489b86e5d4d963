/**
 * What carries the frames of a link, whole and in order, until it closes: a WebSocket
 * (websocket.ts) or, within a machine, a socket with a plain framing of our own (frames.ts).
 */
export interface WireHandlers {
  /** The bytes are the wire's own: they hold until this returns. `text` on WebSockets only. */
  onFrame(frame: Uint8Array, text: boolean): void;
  /** Called exactly once, with a close code (protocol/limits.ts CLOSE; 1006: without a word). */
  onClose(code: number, reason: string): void;
}

export interface Wire {
  readonly isOpen: boolean;
  /** Bytes accepted and not yet handed to the operating system. */
  readonly queuedBytes: number;
  /** Grows whenever anything is heard of the peer, parts of frames and answers to pings too. */
  readonly heard: number;
  /** Says where frames go. Those that come before this call's turn ends are not lost. */
  listen(handlers: WireHandlers): void;
  /** The bytes must not change any more. */
  send(frame: Uint8Array): void;
  /** Asks the peer for a sign of life. */
  ping(): void;
  /** Ends it after all that was sent, and tells the peer why, in at most 120 bytes. */
  close(code: number, reason: string): void;
  /** Ends it now. */
  terminate(): void;
  /** Whether the open wire keeps the process running. It does until told otherwise. */
  keepsAlive(keep: boolean): void;
}
