/** The page's own link to the scheduler: the WebSocket beside it, logged in by the page's cookie. */
import { TaskloomError } from '../../base/errors.ts';
import { decode, encode } from '../../protocol/codec.ts';
import type { FeedMessage, FeedRequest } from '../../protocol/feed.ts';
import type { FeedStore } from '../model/store.ts';

const BACKOFF_MAX_MS = 10_000;

/** Feeds a store from the `feed` route beside `location` until the cluster says that it ends. */
export class PageFeed {
  readonly #store: FeedStore;
  #socket: WebSocket | null = null;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(store: FeedStore) {
    this.#store = store;
    document.addEventListener('visibilitychange', () => {
      if (this.#socket?.readyState === WebSocket.OPEN) this.#subscribe();
      else if (!document.hidden && this.#socket === null) this.#open();
    });
    this.#open();
  }

  #open(): void {
    clearTimeout(this.#timer);
    if (this.#store.status === 'ended' || this.#store.status === 'refused') return;
    const url = new URL('feed', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    url.hash = '';
    url.search = '';
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('open', () => this.#subscribe());
    socket.addEventListener('message', event => this.#message(event.data));
    socket.addEventListener('close', () => this.#closed());
    this.#socket = socket;
  }

  #closed(): void {
    this.#socket = null;
    this.#failures += 1;
    this.#store.link(
      'lost',
      this.#failures < 4
        ? 'Connection to the scheduler lost; trying again…'
        : 'The scheduler does not answer. If its cluster has ended, close this page; ' +
            'if you are logged out, open its address with the token again.'
    );
    if (document.hidden) return;
    const delay = Math.min(BACKOFF_MAX_MS, 500 * 2 ** Math.min(6, this.#failures - 1));
    this.#timer = setTimeout(() => this.#open(), delay);
  }

  #message(data: unknown): void {
    if (!(data instanceof ArrayBuffer)) return;
    this.#failures = 0;
    let answer: string;
    try {
      answer = this.#store.apply(decode(new Uint8Array(data)) as FeedMessage);
    } catch (error) {
      if (!(error instanceof TaskloomError)) throw error;
      answer = 'resync';
    }
    if (answer === 'resync') this.#ask({ op: 'resync' });
  }

  #subscribe(): void {
    const rate = document.hidden ? 1 : 10;
    this.#ask({ op: 'subscribe', topics: ['stream', 'progress', 'workers'], rate });
  }

  #ask(request: FeedRequest): void {
    this.#socket?.send(new Uint8Array(encode(request)));
  }
}
