/**
 * What the launcher and the lab say to each other, over jupyter-server-proxy (`<base_url>taskloom/`).
 *
 *   GET    clusters                       -> { clusters: ClusterInfo[], active: string | null }
 *   POST   clusters              NewCluster -> 201 ClusterInfo, when it runs
 *   GET    clusters/:id                    -> ClusterInfo
 *   POST   clusters/:id/scale    { workers } -> ClusterInfo
 *   POST   clusters/:id/restart-workers    -> ClusterInfo
 *   DELETE clusters/:id                    -> 204, when it has ended
 *   DELETE clusters/:id?forget=1           -> 204, drops an ended cluster from the list
 *   GET    clusters/:id/logs               -> ClusterLogs
 *   PUT    active               { id | null } -> 204; what `Client.connect()` uses by default
 *   GET    kinds                           -> { kinds: ClusterKind[] }
 *   WS     events                          -> LauncherEvent as JSON text, at once and at each change
 *   WS     clusters/:id/feed               -> the cluster's dashboard feed (feed.ts), binary
 *
 * A failed request answers with a fitting status and `LauncherError`. The browser never sees a
 * cluster's token: the launcher adds it.
 */

export type ClusterState = 'starting' | 'running' | 'closing' | 'ended' | 'failed';

export interface ClusterInfo {
  id: string;
  name: string;
  /** `local`, or the manager it runs on. */
  kind: string;
  state: ClusterState;
  /** Why it ended, failed or lacks workers; a sentence, or null. */
  reason: string | null;
  workers: {
    running: number;
    /** asked for and not yet there */ starting: number;
    pending: number;
  };
  threads: number;
  /** Bytes used (resident, all workers) and the sum of limits (0 = none). */
  memory: { used: number; limit: number };
  tasks: { processing: number; queued: number; memory: number; erred: number };
  /** ms since the epoch. */
  startedAt: number;
  madeBy: { kind: 'sidebar' | 'notebook' | 'script' | 'cli'; label: string };
  /** Where clients connect: `http://127.0.0.1:port`. */
  address: string;
  /** Bounds while it adapts to the work (maximum null: none); null or absent: it does not. */
  adaptive?: { minimum: number; maximum: number | null } | null;
  can: { scale: boolean; stop: boolean; restart: boolean };
}

export interface NewCluster {
  kind: 'local';
  name?: string;
  workers?: number;
  threadsPerWorker?: number;
  /** Bytes, or text such as "2 GiB"; "auto" splits the machine's memory; 0 = no limit. */
  memoryLimit?: number | string;
}

/** A kind of cluster this site can make, with the JSON schema of its form. */
export interface ClusterKind {
  kind: string;
  title: string;
  description: string;
  schema: Record<string, unknown>;
}

export interface ClusterLogs {
  logs: { source: string; lines: string[] }[];
}

export interface LauncherEvent {
  type: 'clusters';
  clusters: ClusterInfo[];
  active: string | null;
}

export interface LauncherError {
  code: string;
  message: string;
}
