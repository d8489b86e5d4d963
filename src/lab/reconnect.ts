/**
 * A WebSocket that is made again when it breaks: after half a second, then twice as long each
 * time up to `backoffMaxMs`, with jitter so that many pages do not come back in step. While the
 * page is hidden no attempt is made; when it shows again one is made at once. `close` is final.
 */

/** Whether anybody can see the page. Given in, so that this also runs where there is no page. */
export interface Visibility {
  readonly hidden: boolean;
  /** Calls back on every change; returns how to stop. */
  onChange(callback: () => void): () => void;
}

/** The visibility of this browser page. */
export const pageVisibility: Visibility = {
  get hidden() {
    return document.hidden;
  },
  onChange(callback) {
    document.addEventListener('visibilitychange', callback);
    return () => document.removeEventListener('visibilitychange', callback);
  }
};

export interface ReconnectOptions {
  /** Makes a new socket; may throw. */
  open: () => WebSocket;
  visibility: Visibility;
  onOpen: (socket: WebSocket) => void;
  onMessage: (data: unknown) => void;
  /** The link is down: how many attempts failed since it was last up, and the close event's facts. */
  onDown: (failures: number, close: { code: number; reason: string }) => void;
  backoffMs?: number;
  backoffMaxMs?: number;
}

export class ReconnectingSocket {
  readonly #options: ReconnectOptions;
  readonly #stopWatching: () => void;
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #waiting = false;
  #closed = false;

  constructor(options: ReconnectOptions) {
    this.#options = options;
    this.#stopWatching = options.visibility.onChange(() => {
      if (!options.visibility.hidden && this.#waiting) this.#attempt();
    });
    this.#attempt();
  }

  /** Whether messages can be sent now. */
  get isOpen(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Sends when open; otherwise the message is dropped and the answer is false. */
  send(data: string | Uint8Array<ArrayBuffer>): boolean {
    if (this.#socket === null || !this.isOpen) return false;
    this.#socket.send(data);
    return true;
  }

  /** Drops the link and makes it anew at once. */
  restart(): void {
    if (!this.#closed) this.#socket?.close(4000);
  }

  /** Ends it for good. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stopWatching();
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #attempt(): void {
    clearTimeout(this.#timer);
    this.#waiting = false;
    let socket: WebSocket;
    try {
      socket = this.#options.open();
    } catch (error) {
      this.#down({ code: 1006, reason: String(error) });
      return;
    }
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.addEventListener('open', () => {
      if (this.#socket !== socket) return;
      this.#options.onOpen(socket);
    });
    socket.addEventListener('message', event => {
      if (this.#socket !== socket) return;
      // Only a message proves that the far end works: a proxy may accept and then drop the link.
      this.#failures = 0;
      this.#options.onMessage(event.data);
    });
    socket.addEventListener('close', event => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#down({ code: event.code, reason: event.reason });
    });
  }

  #down(close: { code: number; reason: string }): void {
    if (this.#closed) return;
    this.#failures += 1;
    this.#options.onDown(this.#failures, close);
    if (this.#closed) return;
    this.#waiting = true;
    if (this.#options.visibility.hidden) return;
    const most = this.#options.backoffMaxMs ?? 15_000;
    const base = (this.#options.backoffMs ?? 500) * 2 ** Math.min(10, this.#failures - 1);
    const delay = Math.min(most, base) * (0.75 + 0.5 * Math.random());
    this.#timer = setTimeout(() => {
      if (!this.#options.visibility.hidden) this.#attempt();
    }, delay);
  }
}
