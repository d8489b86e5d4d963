/**
 * All clusters of this user, as the sidebar shows them: those that this launcher has made, and
 * those it finds by their connection files, however they were started.
 *
 * A cluster made here is a lease of this process, and when it has ended it stays in the list with
 * its reason until it is forgotten. One made elsewhere vanishes with its file; the file of a
 * scheduler that was killed is removed here. Live figures are read at most once a second and only
 * while somebody looks.
 */
import { mkdirSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { ClusterError, ConfigError, TaskloomError } from '../base/errors.ts';
import {
  listConnectionFiles,
  readActiveId,
  removeConnectionFile,
  removeStaleConnectionFiles,
  runtimeFolder,
  writeActiveId
} from '../config/connection-file.ts';
import type { ConnectionFile } from '../config/connection-file.ts';
import { fetchInfo, fetchLogs, requestClose, requestRestart, requestScale } from '../deploy/api.ts';
import type { ClusterFacts, SchedulerAccess } from '../deploy/api.ts';
import { createClusterId, LocalCluster } from '../deploy/local.ts';
import type { ClusterInfo, ClusterLogs, ClusterState, NewCluster } from '../protocol/launcher.ts';

interface Entry {
  readonly id: string;
  name: string;
  kind: string;
  state: ClusterState;
  reason: string | null;
  startedAt: number;
  madeBy: ConnectionFile['madeBy'];
  /** Made by this launcher: its handle once it runs. */
  readonly own: boolean;
  cluster: LocalCluster | null;
  access: SchedulerAccess | null;
  facts: ClusterFacts | null;
  /** Why its scheduler is away that is being started again, or null. */
  restarting: string | null;
  /** The reading of its figures that is under way. */
  reading: Promise<void> | null;
}

const WATCHED_MS = 1000;
/** Nobody looks: often enough to clear away what killed schedulers leave behind. */
const UNWATCHED_MS = 5000;
/** After an action, look again this soon, ms. */
const SOON_MS = [0, 150, 400, 800];
const INFO_LIMIT_MS = 3000;

export class ClusterRegistry {
  private readonly entries = new Map<string, Entry>();
  private readonly onChange: () => void;
  private viewers = 0;
  private shown = '';
  private watcher: FSWatcher | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private closed = false;

  /** `onChange` is called when what `list` and `active` return has changed. */
  constructor(onChange: () => void) {
    this.onChange = onChange;
  }

  start(): void {
    mkdirSync(runtimeFolder(), { recursive: true, mode: 0o700 });
    try {
      this.watcher = watch(runtimeFolder(), () => this.look());
      this.watcher.on('error', () => undefined);
    } catch {
      // Some file systems cannot be watched: the regular look finds changes, too.
    }
    this.look();
    this.schedule();
  }

  list(): ClusterInfo[] {
    return [...this.entries.values()]
      .sort((a, b) => b.startedAt - a.startedAt || (a.id < b.id ? -1 : 1))
      .map(infoOf);
  }

  /** The active cluster, if it runs. */
  active(): string | null {
    const id = readActiveId();
    return id !== null && this.entries.get(id)?.state === 'running' ? id : null;
  }

  info(id: string): ClusterInfo {
    return infoOf(this.entry(id));
  }

  /** Where a cluster's scheduler is, for the feed. Throws when it does not run. */
  access(id: string): SchedulerAccess {
    return this.running(id).access;
  }

  /** Somebody looks (or looks no more): figures are read only then. */
  setViewers(count: number): void {
    const first = this.viewers === 0 && count > 0;
    this.viewers = count;
    if (!first) return;
    this.schedule();
    this.lookSoon();
  }

  /** Reads all figures now; for those who ask once. */
  async refresh(): Promise<void> {
    this.look();
    await this.poll();
  }

  async create(wish: NewCluster): Promise<ClusterInfo> {
    const entry = this.addOwn(wish);
    this.changed();
    try {
      const cluster = await LocalCluster.create({ ...wish, id: entry.id, madeBy: entry.madeBy });
      if (this.closed) await cluster.close('its launcher has ended');
      entry.cluster = cluster;
      entry.access = cluster;
      entry.state = 'running';
      void cluster.finished.then(reason => this.ended(entry, reason));
      if (this.active() === null) writeActiveId(entry.id);
    } catch (error) {
      entry.state = 'failed';
      entry.reason = error instanceof Error ? error.message : String(error);
      this.changed();
      throw error;
    }
    await this.poll();
    this.lookSoon();
    return infoOf(entry);
  }

  async scale(id: string, workers: number): Promise<ClusterInfo> {
    const entry = this.running(id);
    await requestScale(entry.access, workers);
    return this.after(entry);
  }

  async restartWorkers(id: string): Promise<ClusterInfo> {
    const entry = this.running(id);
    await requestRestart(entry.access);
    return this.after(entry);
  }

  /** Ends a cluster; resolves when it has ended. */
  async stop(id: string): Promise<void> {
    const entry = this.running(id);
    entry.state = 'closing';
    this.changed();
    try {
      if (entry.cluster !== null) await entry.cluster.close('stopped in the sidebar');
      else await this.stopFound(entry);
    } catch (error) {
      if (this.entries.get(id) === entry && entry.state === 'closing') entry.state = 'running';
      this.changed();
      throw error;
    }
  }

  /** Drops an ended cluster, or the file of one that cannot be reached any more. */
  forget(id: string): void {
    const entry = this.entry(id);
    const lost = !entry.own && entry.reason !== null && entry.facts === null;
    if (entry.state !== 'ended' && entry.state !== 'failed' && !lost) {
      throw new TaskloomError('CONFLICT', `${entry.name} is ${entry.state}: stop it first.`);
    }
    if (lost) removeConnectionFile(id);
    this.entries.delete(id);
    this.changed();
  }

  logs(id: string): Promise<ClusterLogs> {
    return fetchLogs(this.running(id).access);
  }

  setActive(id: string | null): void {
    if (id !== null) this.running(id);
    writeActiveId(id);
    this.changed();
  }

  /** Ends what was made here. */
  async close(reason: string): Promise<void> {
    this.closed = true;
    this.watcher?.close();
    if (this.timer !== null) clearTimeout(this.timer);
    const own = [...this.entries.values()].map(entry => entry.cluster?.close(reason));
    await Promise.allSettled(own);
  }

  // ---------------------------------------------------------------- entries

  private entry(id: string): Entry {
    const entry = this.entries.get(id);
    if (entry !== undefined) return entry;
    throw new TaskloomError('NOT_FOUND', `There is no cluster ${id}. It may have ended.`);
  }

  private running(id: string): Entry & { access: SchedulerAccess } {
    const entry = this.entry(id);
    if (entry.state === 'running' && entry.access !== null) {
      return entry as Entry & { access: SchedulerAccess };
    }
    const why = entry.reason === null ? '' : `: ${entry.reason}`;
    throw new TaskloomError('CONFLICT', `${entry.name} is ${entry.state}${why}`);
  }

  private addOwn(wish: NewCluster): Entry {
    if (this.closed) throw new ClusterError('The launcher is ending.');
    let id = createClusterId(wish.kind);
    while (this.entries.has(id)) id = createClusterId(wish.kind);
    for (const other of this.entries.values()) {
      const over = other.state === 'ended' || other.state === 'failed';
      if (other.name !== wish.name || over) continue;
      throw new ConfigError(`A cluster called ${wish.name} runs already. Choose another name.`);
    }
    const entry: Entry = {
      id,
      name: wish.name ?? id,
      kind: wish.kind,
      state: 'starting',
      reason: null,
      startedAt: Date.now(),
      madeBy: { kind: 'sidebar', label: 'sidebar' },
      own: true,
      cluster: null,
      access: null,
      facts: null,
      restarting: null,
      reading: null
    };
    this.entries.set(id, entry);
    return entry;
  }

  private ended(entry: Entry, reason: string): void {
    entry.state = 'ended';
    entry.reason = reason;
    entry.cluster = null;
    entry.access = null;
    this.changed();
  }

  private async stopFound(entry: Entry): Promise<void> {
    await requestClose(entry.access as SchedulerAccess, 'stopped in the sidebar');
    const end = Date.now() + 15_000;
    while (this.entries.get(entry.id) === entry) {
      if (Date.now() > end) {
        throw new TaskloomError('TIMEOUT', `${entry.name} was told to end and has not after 15 s.`);
      }
      await new Promise(resolve => setTimeout(resolve, 50));
      this.look();
    }
  }

  private async after(entry: Entry): Promise<ClusterInfo> {
    await this.poll();
    this.lookSoon();
    return infoOf(entry);
  }

  // ---------------------------------------------------------------- looking

  private schedule(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.closed) return;
    const every = this.viewers > 0 ? WATCHED_MS : UNWATCHED_MS;
    this.timer = setTimeout(() => {
      this.look();
      if (this.viewers > 0) void this.poll();
      this.schedule();
    }, every);
  }

  private lookSoon(): void {
    for (const ms of SOON_MS) {
      setTimeout(() => {
        if (this.closed) return;
        this.look();
        if (this.viewers > 0) void this.poll();
      }, ms);
    }
  }

  /** Brings the list in line with the connection files. */
  private look(): void {
    if (this.closed) return;
    removeStaleConnectionFiles();
    const files = listConnectionFiles();
    const seen = new Set(files.map(file => file.id));
    for (const file of files) {
      const entry = this.entries.get(file.id);
      if (entry === undefined) this.found(file);
      else entry.restarting = file.restarting ?? null;
    }
    for (const entry of this.entries.values()) {
      if (!entry.own && !seen.has(entry.id)) this.entries.delete(entry.id);
    }
    this.changed();
  }

  private found(file: ConnectionFile): void {
    this.entries.set(file.id, {
      id: file.id,
      name: file.name,
      kind: file.kind,
      state: 'running',
      reason: null,
      startedAt: file.startedAt,
      madeBy: file.madeBy,
      own: false,
      cluster: null,
      access: { address: file.address, token: file.token },
      facts: null,
      restarting: file.restarting ?? null,
      reading: null
    });
    if (this.viewers > 0) void this.poll();
  }

  /** Reads the figures of all clusters; one that hangs does not hold up the others. */
  private async poll(): Promise<void> {
    await Promise.all([...this.entries.values()].map(entry => this.pollOne(entry)));
  }

  /** One reading of a cluster at a time. */
  private pollOne(entry: Entry): Promise<void> {
    entry.reading ??= this.read(entry).finally(() => {
      entry.reading = null;
      this.changed();
    });
    return entry.reading;
  }

  private async read(entry: Entry): Promise<void> {
    if (entry.access === null || entry.state !== 'running') return;
    try {
      entry.facts = await fetchInfo(entry.access, INFO_LIMIT_MS);
      if (entry.state === 'running') entry.reason = entry.facts.reason;
    } catch (error) {
      if (entry.state !== 'running') return;
      entry.facts = null;
      entry.reason = entry.restarting ?? (error instanceof Error ? error.message : String(error));
    }
  }

  private changed(): void {
    const now = JSON.stringify([this.list(), this.active()]);
    if (now === this.shown || this.closed) return;
    this.shown = now;
    this.onChange();
  }
}

function infoOf(entry: Entry): ClusterInfo {
  const { facts } = entry;
  const runs = entry.state === 'running';
  // Only nannies that start workers here can be asked for more of them.
  const managed = runs && (facts?.canScale ?? entry.own);
  return {
    id: entry.id,
    name: entry.name,
    kind: entry.kind,
    state: entry.state,
    reason: entry.reason,
    workers: (runs ? facts?.workers : undefined) ?? { running: 0, starting: 0, pending: 0 },
    threads: (runs ? facts?.threads : undefined) ?? 0,
    memory: (runs ? facts?.memory : undefined) ?? { used: 0, limit: 0 },
    tasks: facts?.tasks ?? { processing: 0, queued: 0, memory: 0, erred: 0 },
    startedAt: entry.startedAt,
    madeBy: entry.madeBy,
    address: entry.access?.address ?? '',
    can: { scale: managed, stop: runs, restart: managed }
  };
}
