/**
 * Feeds of clusters for all panels of the page: one WebSocket a cluster, opened for the first
 * viewer and closed a moment after the last has gone. Ten messages a second while the page is
 * seen, one while it is hidden. A cluster that has ended is not asked again: its store keeps the
 * last state and says why it ended.
 */
import type { ServerConnection } from '@jupyterlab/services';

import { TaskloomError } from '../base/errors.ts';
import { FeedStore } from '../panels/model/store.ts';
import { decode, encode } from '../protocol/codec.ts';
import type { FeedMessage, FeedRequest, FeedTopic } from '../protocol/feed.ts';
import { socketUrl } from './launcher.ts';
import { pageVisibility, ReconnectingSocket } from './reconnect.ts';
import type { Visibility } from './reconnect.ts';
import type { FeedLease, ITaskloomClusters, ITaskloomFeeds } from './tokens.ts';

const TOPICS: FeedTopic[] = ['stream', 'progress', 'workers'];
const HIDDEN_RATE = 1;
/** How long a feed outlives its last viewer: moving a panel must not lose its zoom. */
const LINGER_MS = 3000;

export interface FeedHubOptions {
  serverSettings: ServerConnection.ISettings;
  clusters: ITaskloomClusters;
  visibility?: Visibility;
  lingerMs?: number;
}

interface Feed {
  store: FeedStore;
  socket: ReconnectingSocket | null;
  viewers: number;
  closing: ReturnType<typeof setTimeout> | undefined;
}

export class FeedHub implements ITaskloomFeeds {
  readonly #options: FeedHubOptions;
  readonly #visibility: Visibility;
  readonly #feeds = new Map<string, Feed>();
  #rate = 10;

  constructor(options: FeedHubOptions) {
    this.#options = options;
    this.#visibility = options.visibility ?? pageVisibility;
    this.#visibility.onChange(() => this.#resubscribe());
    options.clusters.changed.connect(() => this.#checkAll());
  }

  /** Sockets open or being opened now. */
  get sockets(): number {
    return [...this.#feeds.values()].filter(feed => feed.socket !== null).length;
  }

  /** Deltas a second while the page is seen. */
  setRate(rate: number): void {
    if (rate === this.#rate) return;
    this.#rate = rate;
    this.#resubscribe();
  }

  acquire(clusterId: string): FeedLease {
    const feed = this.#feeds.get(clusterId) ?? this.#make(clusterId);
    feed.viewers += 1;
    clearTimeout(feed.closing);
    let disposed = false;
    return {
      clusterId,
      store: feed.store,
      get isDisposed() {
        return disposed;
      },
      dispose: () => {
        if (disposed) return;
        disposed = true;
        this.#release(clusterId, feed);
      }
    };
  }

  #make(clusterId: string): Feed {
    const feed: Feed = { store: new FeedStore(), socket: null, viewers: 0, closing: undefined };
    this.#feeds.set(clusterId, feed);
    this.#options.clusters.start();
    this.#check(clusterId, feed);
    return feed;
  }

  #release(clusterId: string, feed: Feed): void {
    feed.viewers -= 1;
    if (feed.viewers > 0) return;
    feed.closing = setTimeout(() => {
      feed.socket?.close();
      feed.socket = null;
      this.#feeds.delete(clusterId);
    }, this.#options.lingerMs ?? LINGER_MS);
  }

  #checkAll(): void {
    for (const [clusterId, feed] of this.#feeds) this.#check(clusterId, feed);
  }

  /** Opens or ends a feed by what the launcher says of its cluster. */
  #check(clusterId: string, feed: Feed): void {
    const { clusters } = this.#options;
    if (clusters.status !== 'ready') return;
    const info = clusters.get(clusterId);
    if (info === null || info.state === 'ended' || info.state === 'failed') {
      feed.socket?.close();
      feed.socket = null;
      const reason = info?.reason ?? feed.store.reason ?? 'the cluster is gone';
      if (feed.store.status !== 'ended') feed.store.link('ended', reason);
      return;
    }
    if (feed.socket === null && info.state !== 'starting') this.#open(clusterId, feed);
  }

  #open(clusterId: string, feed: Feed): void {
    const { serverSettings } = this.#options;
    const path = `clusters/${encodeURIComponent(clusterId)}/feed`;
    feed.socket = new ReconnectingSocket({
      open: () => new serverSettings.WebSocket(socketUrl(serverSettings, path)),
      visibility: this.#visibility,
      onOpen: () => this.#subscribe(feed),
      onMessage: data => this.#message(feed, data),
      onDown: () => feed.store.link('lost', 'Connection to the scheduler lost; trying again…')
    });
  }

  #message(feed: Feed, data: unknown): void {
    if (!(data instanceof ArrayBuffer)) return;
    let answer: string;
    try {
      answer = feed.store.apply(decode(new Uint8Array(data)) as FeedMessage);
    } catch (error) {
      if (!(error instanceof TaskloomError)) throw error;
      answer = 'resync';
    }
    if (answer === 'resync') this.#ask(feed, { op: 'resync' });
    else if (answer === 'refused') {
      feed.socket?.close();
      feed.socket = null;
    }
  }

  #subscribe(feed: Feed): void {
    const rate = this.#visibility.hidden ? Math.min(HIDDEN_RATE, this.#rate) : this.#rate;
    this.#ask(feed, { op: 'subscribe', topics: TOPICS, rate });
  }

  #resubscribe(): void {
    for (const feed of this.#feeds.values()) this.#subscribe(feed);
  }

  #ask(feed: Feed, request: FeedRequest): void {
    feed.socket?.send(new Uint8Array(encode(request)));
  }
}
