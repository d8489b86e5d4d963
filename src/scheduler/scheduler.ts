/**
 * The scheduler process: one port, the state, and what lies between them. Links (client-links.ts,
 * worker-links.ts, nanny-links.ts) turn frames into events and closed links into removals; here the
 * state handles an event, the journal notes it, and its instructions leave as frames.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { formatDuration } from '../base/duration.ts';
import { CommServer } from '../comm/server.ts';
import { removeConnectionFile, writeConnectionFile } from '../config/connection-file.ts';
import type { ConnectionFile } from '../config/connection-file.ts';
import { Log } from '../diagnostics/log.ts';
import { CLOSE, PROTOCOL_VERSION } from '../protocol/limits.ts';
import { ClientLinks } from './client-links.ts';
import { ExitReports } from './exit-reports.ts';
import { FeedServer } from './feed-server.ts';
import { JournalKeeper } from './journal/keeper.ts';
import type { NannyLink } from './nanny-links.ts';
import { addRoutes } from './routes.ts';
import { Scaling } from './scaling.ts';
import type { Policy } from './state/amm.ts';
import { Liveness, LIVENESS_DEFAULTS } from './state/liveness.ts';
import type { LivenessOptions } from './state/liveness.ts';
import { DEFAULT_OPTIONS, SchedulerState } from './state/state.ts';
import type { SchedulerEvent, SchedulerOptions as StateOptions } from './state/state.ts';
import { VersionBook } from './versions.ts';
import { giveUpWorker } from './worker-links.ts';
import type { WorkerLink } from './worker-links.ts';

/** How a scheduler is started. */
export interface SchedulerOptions
  extends Partial<Omit<StateOptions, 'cluster'>>, Partial<LivenessOptions> {
  id: string;
  name: string;
  kind: string;
  host?: string;
  port?: number;
  token: string;
  /** Listen beyond loopback without encryption. */
  insecure?: boolean;
  madeBy: ConnectionFile['madeBy'];
  /** Write a connection file, so that the sidebar and `Client.connect` find the cluster. */
  connectionFile: boolean;
  log?: Log;
  /** Policies of the active memory manager beside the built-in ones. */
  policies?: readonly Policy[];
  /** Folder of its journal; absent: it keeps none. */
  journal?: string;
  /** Workers of a scheduler that died and in whose place this one is started. */
  recoverWorkers?: number;
  /** Process that starts it again when it dies. */
  supervisor?: number;
  /** When the cluster began, ms since the epoch. Default: now. */
  startedAt?: number;
  /** How many workers there are, whenever that changes. */
  onWorkers?: (count: number) => void;
}

const TICK_MS = 250;
/** How long the workers of a scheduler that died are awaited before anything is placed. */
const RECOVER_MS = 5000;

/** A scheduler that serves, with all that its links need to see of it. */
export class Scheduler {
  readonly id: string;
  readonly cluster: { id: string; name: string; kind: string };
  address = '';
  readonly state: SchedulerState;
  readonly log: Log;
  readonly finished: Promise<string>;
  readonly options: SchedulerOptions;
  readonly startedAt: number;
  readonly clients = new ClientLinks(this);
  readonly workers = new Map<number, WorkerLink>();
  readonly nannies = new Map<string, NannyLink>();
  /** What nannies say of workers that ended. */
  readonly exits = new ExitReports();
  /** Of all processes that are connected. */
  readonly versions = new VersionBook();
  readonly feed: FeedServer;
  readonly scaling = new Scaling(this);
  private readonly server: CommServer;
  private readonly liveness: Liveness;
  private readonly journal: JournalKeeper | null;
  private readonly heldBack: (() => void)[] = [];
  private ticker: NodeJS.Timeout | null = null;
  private resolveFinished: (reason: string) => void = () => undefined;
  private closing: Promise<void> | null = null;
  private idleClosing = false;

  private constructor(options: SchedulerOptions) {
    this.options = options;
    this.id = options.id;
    this.startedAt = options.startedAt ?? Date.now();
    this.log = options.log ?? new Log('scheduler');
    this.finished = new Promise(resolve => (this.resolveFinished = resolve));
    this.cluster = { id: options.id, name: options.name, kind: options.kind };
    this.state = new SchedulerState({
      ...DEFAULT_OPTIONS,
      ...stateOptions(options),
      cluster: this.cluster,
      epoch: randomBytes(8).toString('hex')
    });
    for (const policy of options.policies ?? []) this.state.policies.set(policy.name, policy);
    const { workerTtl, idleTimeout } = { ...LIVENESS_DEFAULTS, ...options };
    this.liveness = new Liveness({ workerTtl, idleTimeout }, now());
    this.feed = new FeedServer(this.state, { ...this.cluster, startedAt: this.startedAt }, now);
    const { host, port, insecure, token } = options;
    this.server = new CommServer({
      token,
      sameHost: true,
      ...(host === undefined ? {} : { host }),
      ...(port === undefined ? {} : { port }),
      ...(insecure === undefined ? {} : { insecure })
    });
    this.journal = this.openJournal();
    addRoutes(this.server, this);
  }

  /** Listens, writes the connection file and is ready for workers and clients. */
  static async start(options: SchedulerOptions): Promise<Scheduler> {
    const scheduler = new Scheduler(options);
    const workers = options.recoverWorkers ?? 0;
    if (workers > 0) scheduler.apply({ type: 'recover', workers, within: RECOVER_MS });
    scheduler.address = await scheduler.server.listen();
    if (options.connectionFile) {
      writeConnectionFile({
        id: options.id,
        name: options.name,
        kind: options.kind,
        address: scheduler.address,
        token: options.token,
        protocol: PROTOCOL_VERSION,
        pid: process.pid,
        host: hostname(),
        startedAt: scheduler.startedAt,
        ...(options.supervisor === undefined ? {} : { supervisor: options.supervisor }),
        madeBy: options.madeBy
      });
    }
    scheduler.ticker = setInterval(() => scheduler.tick(), TICK_MS);
    scheduler.log.info(`cluster ${options.name} listens on ${scheduler.address}`);
    if (workers > 0) {
      const wait = `for up to ${RECOVER_MS / 1000} s, until they are back`;
      scheduler.log.warn(`in place of a scheduler that had ${workers} workers; waits ${wait}`);
    }
    return scheduler;
  }

  /** Ends all links and the port; `finished` resolves with the reason. */
  close(reason: string): Promise<void> {
    this.closing ??= this.shutDown(reason);
    return this.closing;
  }

  /** It ends: links that close are no news any more. */
  get isClosing(): boolean {
    return this.closing !== null;
  }

  /** Links to the workers of these names or addresses; null: to all. */
  linksTo(workers: readonly string[] | null): WorkerLink[] {
    const named = ({ register: { address, name } }: WorkerLink): boolean =>
      workers === null || workers.includes(address) || workers.includes(name);
    return [...this.workers.values()].filter(named);
  }

  private openJournal(): JournalKeeper | null {
    const { state, log, options, feed } = this;
    const { journal: folder, id, name } = options;
    if (folder === undefined) return null;
    return new JournalKeeper({
      folder,
      cluster: { id, name },
      state,
      log,
      now: now(),
      onWorkersBefore: facts => feed.workersBefore(facts)
    });
  }

  private async shutDown(reason: string): Promise<void> {
    this.log.info(`closing: ${reason}`);
    if (this.options.connectionFile) removeConnectionFile(this.id);
    if (this.ticker !== null) clearInterval(this.ticker);
    this.feed.end(reason);
    this.clients.close(reason);
    for (const { connection } of this.workers.values()) {
      connection.send({ op: 'close', reason });
      connection.close(CLOSE.goingAway, reason);
    }
    for (const { connection } of this.nannies.values()) connection.close(CLOSE.goingAway, reason);
    // One turn for the last frames to leave.
    await new Promise(resolve => setTimeout(resolve, 20));
    await this.server.close();
    this.journal?.close();
    this.resolveFinished(reason);
  }

  /** Everything that listens on the port (for tests and docs). */
  listRoutes(): string[] {
    return this.server.listRoutes();
  }

  /** Lets the state handle an event and sends what it says. Throws ProtocolError on bad input. */
  apply(event: SchedulerEvent): void {
    const at = now();
    const instructions = this.state.handle(event, at);
    // Before anybody is told what came of it.
    this.journal?.record(event, at);
    for (const instruction of instructions) {
      if (instruction.to === 'worker')
        this.workers.get(instruction.worker)?.connection.send(instruction.message);
      else {
        const { message } = instruction;
        if (message.op === 'task-warning') this.log.warn(`to a client: ${message.text}`);
        this.clients.send(instruction.client, message);
      }
    }
    this.scaling.afterEvent();
    if (this.heldBack.length > 0 && !this.state.recovery.holding) {
      for (const act of this.heldBack.splice(0)) act();
    }
  }

  /** Does now, or once the workers of the scheduler before are back, what needs to know of them. */
  whenWhole(act: () => void): void {
    if (this.state.recovery.holding) this.heldBack.push(act);
    else act();
  }

  private tick(): void {
    this.apply({ type: 'tick' });
    this.scaling.tick(now());
    const { silent, closeIdle } = this.liveness.look(this.state, now());
    for (const worker of silent) {
      const reason = `nothing was heard of it for ${formatDuration(now() - worker.lastSeen)} (worker-ttl)`;
      this.log.warn(`worker ${worker.facts.name}: ${reason}`);
      giveUpWorker(this, worker.id, reason);
    }
    if (closeIdle && this.closing === null && !this.idleClosing) {
      this.idleClosing = true;
      const idle = formatDuration(this.options.idleTimeout ?? 0);
      this.requestClose(`closed by its idle timeout: there was nothing to do for ${idle}`);
    }
  }

  /** Ends the cluster: through its nanny when it has one, else this process alone. */
  requestClose(reason: string): void {
    const owner = [...this.nannies.values()].find(nanny => nanny.register.canScale);
    if (owner === undefined) setImmediate(() => void this.close(reason));
    else owner.requester.request('close', { reason }, 10_000).catch(() => this.close(reason));
  }
}

/** ms since the epoch, finer than Date.now(). */
function now(): number {
  return performance.timeOrigin + performance.now();
}

function stateOptions(options: SchedulerOptions): Partial<StateOptions> {
  const chosen: Partial<Record<keyof typeof DEFAULT_OPTIONS, number>> = {};
  for (const name of Object.keys(DEFAULT_OPTIONS) as (keyof typeof DEFAULT_OPTIONS)[]) {
    if (options[name] !== undefined) chosen[name] = options[name];
  }
  return chosen;
}
