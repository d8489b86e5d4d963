/**
 * Which feed a panel shows: that of one cluster, or that of whatever cluster is active. When the
 * active cluster ends and no other takes its place, the panel keeps its last state.
 */
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

import type { FeedStore } from '../panels/model/store.ts';
import type { FeedLease, ITaskloomClusters, ITaskloomFeeds } from './tokens.ts';

export class FollowedFeed implements IDisposable {
  readonly #clusters: ITaskloomClusters;
  readonly #feeds: ITaskloomFeeds;
  /** Cluster id, or null: the active one. */
  readonly #pinned: string | null;
  readonly #changed = new Signal<this, void>(this);
  #lease: FeedLease | null = null;
  #disposed = false;

  constructor(clusters: ITaskloomClusters, feeds: ITaskloomFeeds, pinned: string | null) {
    this.#clusters = clusters;
    this.#feeds = feeds;
    this.#pinned = pinned;
    clusters.changed.connect(this.#follow, this);
    clusters.start();
    this.#follow();
  }

  /** When the store has become another one. */
  get changed(): ISignal<this, void> {
    return this.#changed;
  }

  get store(): FeedStore | null {
    return this.#lease?.store ?? null;
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#clusters.changed.disconnect(this.#follow, this);
    this.#lease?.dispose();
    this.#lease = null;
    Signal.clearData(this);
  }

  #follow(): void {
    const wanted = this.#pinned ?? this.#clusters.active?.id ?? null;
    if (wanted === null || wanted === this.#lease?.clusterId) return;
    const before = this.#lease;
    this.#lease = this.#feeds.acquire(wanted);
    before?.dispose();
    this.#changed.emit();
  }
}
