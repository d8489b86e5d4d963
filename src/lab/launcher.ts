/**
 * The lab's side of the launcher: REST for what the user does, one WebSocket for the list. The
 * list is never asked for: the launcher tells it at once and at every change.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

import { ClusterError } from '../base/errors.ts';
import type {
  ClusterInfo,
  ClusterKind,
  ClusterLogs,
  LauncherError,
  LauncherEvent,
  NewCluster
} from '../protocol/launcher.ts';
import { pageVisibility, ReconnectingSocket } from './reconnect.ts';
import type { Visibility } from './reconnect.ts';
import type { ITaskloomClusters, LauncherStatus } from './tokens.ts';

/** Failed first attempts after which the page says that there is no launcher. */
const ATTEMPTS_BEFORE_UNAVAILABLE = 3;

export interface LauncherOptions {
  serverSettings: ServerConnection.ISettings;
  visibility?: Visibility;
}

/** URL of a WebSocket of the launcher. Cookies log it in; the token is added only when asked for. */
export function socketUrl(settings: ServerConnection.ISettings, path: string): string {
  const url = URLExt.join(settings.wsUrl, 'taskloom', path);
  return settings.appendToken && settings.token !== ''
    ? `${url}?token=${encodeURIComponent(settings.token)}`
    : url;
}

export class LauncherClient implements ITaskloomClusters {
  status: LauncherStatus = 'idle';
  problem: string | null = null;
  clusters: readonly ClusterInfo[] = [];
  readonly #settings: ServerConnection.ISettings;
  readonly #visibility: Visibility;
  readonly #changed = new Signal<this, void>(this);
  #activeId: string | null = null;
  #socket: ReconnectingSocket | null = null;

  constructor(options: LauncherOptions) {
    this.#settings = options.serverSettings;
    this.#visibility = options.visibility ?? pageVisibility;
  }

  get changed(): ISignal<this, void> {
    return this.#changed;
  }

  get active(): ClusterInfo | null {
    return this.#activeId === null ? null : this.get(this.#activeId);
  }

  get(id: string): ClusterInfo | null {
    return this.clusters.find(cluster => cluster.id === id) ?? null;
  }

  start(): void {
    if (this.#socket !== null) return;
    this.status = 'connecting';
    this.#socket = new ReconnectingSocket({
      open: () => new this.#settings.WebSocket(socketUrl(this.#settings, 'events')),
      visibility: this.#visibility,
      backoffMaxMs: 30_000,
      onOpen: () => undefined,
      onMessage: data => this.#event(data),
      onDown: failures => this.#down(failures)
    });
  }

  dispose(): void {
    this.#socket?.close();
    this.#socket = null;
    Signal.clearData(this);
  }

  async kinds(): Promise<ClusterKind[]> {
    const { kinds } = await this.#request<{ kinds: ClusterKind[] }>('GET', 'kinds');
    return kinds;
  }

  async create(cluster: NewCluster): Promise<ClusterInfo> {
    const made = await this.#request<ClusterInfo>('POST', 'clusters', cluster);
    this.#merge(made);
    return made;
  }

  async scale(id: string, workers: number): Promise<ClusterInfo> {
    const info = await this.#request<ClusterInfo>('POST', `${pathOf(id)}/scale`, { workers });
    this.#merge(info);
    return info;
  }

  async restartWorkers(id: string): Promise<ClusterInfo> {
    const info = await this.#request<ClusterInfo>('POST', `${pathOf(id)}/restart-workers`);
    this.#merge(info);
    return info;
  }

  async stop(id: string): Promise<void> {
    await this.#request('DELETE', pathOf(id));
  }

  async forget(id: string): Promise<void> {
    await this.#request('DELETE', `${pathOf(id)}?forget=1`);
  }

  logs(id: string): Promise<ClusterLogs> {
    return this.#request<ClusterLogs>('GET', `${pathOf(id)}/logs`);
  }

  async setActive(id: string | null): Promise<void> {
    await this.#request('PUT', 'active', { id });
  }

  #event(data: unknown): void {
    if (typeof data !== 'string') return;
    const event = JSON.parse(data) as LauncherEvent;
    if (event.type !== 'clusters') return;
    this.clusters = event.clusters;
    this.#activeId = event.active;
    this.status = 'ready';
    this.problem = null;
    this.#changed.emit();
  }

  #down(failures: number): void {
    if (this.status === 'ready') {
      this.status = 'lost';
      this.problem = 'The connection to the Jupyter server is down; trying again.';
    } else if (this.status === 'connecting' && failures >= ATTEMPTS_BEFORE_UNAVAILABLE) {
      this.status = 'unavailable';
      this.problem =
        'This Jupyter server does not answer at taskloom/. Install the taskloom Python package ' +
        '(with jupyter-server-proxy) where the server runs, then restart the server.';
    } else return;
    this.#changed.emit();
  }

  /** An answer may arrive before the event that tells the same. */
  #merge(info: ClusterInfo): void {
    const others = this.clusters.filter(cluster => cluster.id !== info.id);
    const known = others.length < this.clusters.length;
    this.clusters = known
      ? this.clusters.map(cluster => (cluster.id === info.id ? info : cluster))
      : [info, ...others];
    this.#changed.emit();
  }

  async #request<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
    const url = URLExt.join(this.#settings.baseUrl, 'taskloom', path);
    const init: RequestInit = { method, cache: 'no-store' };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { 'Content-Type': 'application/json' };
    }
    const response = await ServerConnection.makeRequest(url, init, this.#settings);
    if (!response.ok) throw await failure(response);
    if (response.status === 204) return undefined as Answer;
    return (await response.json()) as Answer;
  }
}

const pathOf = (id: string): string => `clusters/${encodeURIComponent(id)}`;

async function failure(response: Response): Promise<Error> {
  const text = await response.text();
  try {
    const error = JSON.parse(text) as Partial<LauncherError>;
    if (typeof error.message === 'string') return new ClusterError(error.message);
  } catch {
    // Not the launcher's answer but a proxy's page: the status says more than its HTML.
  }
  return new ClusterError(
    `The launcher answered ${response.status} ${response.statusText}. ` +
      'Look at the Jupyter server log; if taskloom is not installed there, install it.'
  );
}
