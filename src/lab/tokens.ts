/**
 * What the plugins of this extension offer to each other and to other extensions: the clusters
 * of this user, and the feeds that panels are drawn from.
 */
import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

import type { FeedStore } from '../panels/model/store.ts';
import type { ClusterInfo, ClusterKind, ClusterLogs, NewCluster } from '../protocol/launcher.ts';

/**
 * `idle`: nobody asked yet; `connecting`: first contact is being made; `ready`: the list is live;
 * `lost`: it was live and is being made again; `unavailable`: the server has no launcher.
 */
export type LauncherStatus = 'idle' | 'connecting' | 'ready' | 'lost' | 'unavailable';

/** The clusters of this user, however they were started. */
export interface ITaskloomClusters {
  /** After every change of the list, the active cluster or the status. */
  readonly changed: ISignal<ITaskloomClusters, void>;
  readonly status: LauncherStatus;
  /** A sentence when the status is `lost` or `unavailable`. */
  readonly problem: string | null;
  readonly clusters: readonly ClusterInfo[];
  /** What `Client.connect()` uses and what panels follow. */
  readonly active: ClusterInfo | null;
  /** Starts listening; does nothing when it already does. */
  start(): void;
  get(id: string): ClusterInfo | null;
  kinds(): Promise<ClusterKind[]>;
  create(cluster: NewCluster): Promise<ClusterInfo>;
  scale(id: string, workers: number): Promise<ClusterInfo>;
  restartWorkers(id: string): Promise<ClusterInfo>;
  stop(id: string): Promise<void>;
  /** Drops an ended cluster from the list. */
  forget(id: string): Promise<void>;
  logs(id: string): Promise<ClusterLogs>;
  setActive(id: string | null): Promise<void>;
}

export const ITaskloomClusters = new Token<ITaskloomClusters>(
  'taskloom:ITaskloomClusters',
  'The Taskloom clusters of this user: list, make, scale, stop, choose the active one.'
);

/** A hold on a cluster's feed; the feed's socket closes after the last one is disposed. */
export interface FeedLease extends IDisposable {
  readonly clusterId: string;
  readonly store: FeedStore;
}

/** Feeds of clusters, one socket a cluster however many look at it. */
export interface ITaskloomFeeds {
  acquire(clusterId: string): FeedLease;
}

export const ITaskloomFeeds = new Token<ITaskloomFeeds>(
  'taskloom:ITaskloomFeeds',
  'Live dashboard feeds of Taskloom clusters, shared by all panels of the page.'
);
