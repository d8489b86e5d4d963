/**
 * The scheduler process: one port, links to clients, workers and nannies, and the state between
 * them. Turns frames into events, instructions into frames, and closed links into removals. When a
 * worker with a nanny vanishes, the nanny's report of why is awaited for a moment, so that errors
 * can say it.
 */
import { readFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { extname, join, normalize } from 'node:path';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { WebSocket } from 'ws';
import { packageVersion } from '../config/runtime.ts';
import { formatDuration } from '../base/duration.ts';
import type { Connection, ConnectionHandlers } from '../comm/connection.ts';
import type { KeepAliveOptions } from '../comm/keep-alive.ts';
import { Requester, answerRequest } from '../comm/rpc.ts';
import { CommServer } from '../comm/server.ts';
import type { HttpAnswer } from '../comm/server.ts';
import { accept } from '../comm/websocket.ts';
import { removeConnectionFile, writeConnectionFile } from '../config/connection-file.ts';
import type { ConnectionFile } from '../config/connection-file.ts';
import { Log } from '../diagnostics/log.ts';
import { checkMessage } from '../protocol/check.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import { refusal } from '../protocol/versions.ts';
import type { Versions } from '../protocol/versions.ts';
import type { ClusterInfo, ClusterLogs } from '../protocol/launcher.ts';
import type {
  ClientToScheduler,
  NannyStatus,
  NannyToScheduler,
  RegisterClient,
  RegisterNanny,
  RegisterWorker,
  SchedulerToClient,
  SchedulerToNanny,
  SchedulerToWorker,
  WorkerExited,
  WorkerToScheduler
} from '../protocol/messages.ts';
import { FeedServer } from './feed-server.ts';
import { VersionBook } from './versions.ts';
import { Journal } from './journal/journal.ts';
import { historySince, recordOf, replay, snapshot } from './journal/records.ts';
import type { Recorded } from './journal/records.ts';
import { LOGIN_PAGE } from './login-page.ts';
import { clusterDump } from './diagnostics.ts';
import { NEEDS_WORKERS, clientMethods } from './methods.ts';
import { Liveness, LIVENESS_DEFAULTS } from './state/liveness.ts';
import type { LivenessOptions } from './state/liveness.ts';
import { Scaling } from './scaling.ts';
import type { AdaptWish } from './scaling.ts';
import type { Policy } from './state/amm.ts';
import { DEFAULT_OPTIONS, SchedulerState } from './state/state.ts';
import type { Executing, SchedulerEvent, SchedulerOptions as StateOptions } from './state/state.ts';

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

/**
 * How long values that cannot be computed again are awaited from a worker that nobody saw end: its
 * link broke, or it fell silent behind a network that failed.
 */
const RETURN_MS = 5000;
const RETURN_SILENT_MS = 60_000;
/** How long the nanny's report of a vanished worker is awaited. */
const EXIT_REPORT_MS = 1000;
const TICK_MS = 250;
/** ms between parts of the history in the journal. */
const HISTORY_MS = 1000;
/** How long clients of a journal may take to come back. */
const JOURNAL_GRACE_MS = 30_000;
/** How long the workers of a scheduler that died are awaited before anything is placed. */
const RECOVER_MS = 5000;
/** Closes after which a client may come back: its link broke, or seemed to. */
const BROKEN: ReadonlySet<number> = new Set([1006, CLOSE.unresponsive]);

export interface WorkerLink {
  connection: Connection<SchedulerToWorker>;
  requester: Requester;
  register: RegisterWorker;
  /** Why this side has given it up, or null. */
  givenUp: string | null;
}
export interface NannyLink {
  connection: Connection<SchedulerToNanny>;
  requester: Requester;
  register: RegisterNanny;
  status: NannyStatus | null;
}

/** What all registrations have in common. */
interface Registration {
  protocol: number;
  version?: string;
  versions?: Versions;
  name?: string;
  nanny?: string;
}

/** What becomes of a link after its registration. */
interface OpenLink<In> {
  messages(batch: In[]): void;
  closed(reason: string, code: number): void;
}

export class Scheduler {
  readonly id: string;
  address = '';
  readonly state: SchedulerState;
  readonly log: Log;
  readonly finished: Promise<string>;
  readonly workers = new Map<number, WorkerLink>();
  readonly nannies = new Map<string, NannyLink>();
  readonly options: SchedulerOptions;
  private readonly clients = new Map<string, Connection<SchedulerToClient>>();
  private readonly server: CommServer;
  /** Of all processes that are connected. */
  readonly versions = new VersionBook();
  private readonly feed: FeedServer;
  private readonly liveness: Liveness;
  readonly scaling = new Scaling(this);
  private readonly exits = new Map<string, WorkerExited>();
  private readonly awaited = new Map<string, (exit: WorkerExited | null) => void>();
  readonly startedAt = Date.now();
  private readonly heldBack: (() => void)[] = [];
  private journal: Journal | null = null;
  /** How much of the history is in the journal, and since when. */
  private readonly recorded: Recorded = { stream: 0, story: 0 };
  private recordedAt = 0;
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
    const cluster = { id: options.id, name: options.name, kind: options.kind };
    this.state = new SchedulerState({
      ...DEFAULT_OPTIONS,
      ...stateOptions(options),
      cluster,
      epoch: randomBytes(8).toString('hex')
    });
    for (const policy of options.policies ?? []) this.state.policies.set(policy.name, policy);
    const { workerTtl, idleTimeout } = { ...LIVENESS_DEFAULTS, ...options };
    this.liveness = new Liveness({ workerTtl, idleTimeout }, now());
    this.feed = new FeedServer(this.state, { ...cluster, startedAt: this.startedAt }, now);
    const { host, port, insecure, token } = options;
    this.server = new CommServer({
      token,
      ...(host === undefined ? {} : { host }),
      ...(port === undefined ? {} : { port }),
      ...(insecure === undefined ? {} : { insecure })
    });
    this.addRoutes();
  }

  /** Listens, writes the connection file and is ready for workers and clients. */
  static async start(options: SchedulerOptions): Promise<Scheduler> {
    const scheduler = new Scheduler(options);
    if (options.journal !== undefined) scheduler.openJournal(options.journal);
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

  private async shutDown(reason: string): Promise<void> {
    this.log.info(`closing: ${reason}`);
    if (this.options.connectionFile) removeConnectionFile(this.id);
    if (this.ticker !== null) clearInterval(this.ticker);
    this.feed.end(reason);
    for (const client of this.clients.values()) {
      client.send({ op: 'closing', reason });
      client.close(CLOSE.goingAway, reason);
    }
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
    if (this.journal !== null) this.record(this.journal, event, at);
    for (const instruction of instructions) {
      if (instruction.to === 'worker')
        this.workers.get(instruction.worker)?.connection.send(instruction.message);
      else {
        const { message } = instruction;
        if (message.op === 'task-warning') this.log.warn(`to a client: ${message.text}`);
        this.clients.get(instruction.client)?.send(message);
      }
    }
    this.scaling.afterEvent();
    if (this.heldBack.length > 0 && !this.state.recovery.holding) {
      for (const act of this.heldBack.splice(0)) act();
    }
  }

  // ---------------------------------------------------------------- the journal

  /** Takes over what the journal of a scheduler before says. Throws when it cannot be used. */
  private openJournal(folder: string): void {
    const { id, name } = this.options;
    const { journal, records, cluster, note } = Journal.open(folder, { id, name });
    this.journal = journal;
    if (note !== null) this.log.warn(note);
    if (cluster !== null) {
      const { events, facts } = replay(this.state, records, now(), JOURNAL_GRACE_MS);
      this.feed.workersBefore(facts);
      const { tasks, clients, datasets } = this.state;
      this.log.info(
        `the journal in ${folder} gave ${events} events: ${tasks.size} tasks of ${clients.size} clients and ` +
          `${datasets.size} datasets are known again`
      );
    }
    this.recorded.stream = this.state.stream.count;
    this.recorded.story = this.state.story.count;
    this.state.endedForgotten = [];
  }

  private record(journal: Journal, event: SchedulerEvent, at: number): void {
    const record = recordOf(event, at);
    if (record !== null) journal.append(record);
    if (event.type === 'add-worker')
      journal.append({ op: 'worker', id: event.worker, facts: event.facts });
    if (event.type === 'add-worker' || event.type === 'remove-worker')
      journal.append({ op: 'workers', count: this.state.workers.size });
    const ended = this.state.endedForgotten ?? [];
    if (ended.length > 0) journal.append({ op: 'forgotten-ended', keys: ended.splice(0) });
    if (event.type !== 'tick' || at - this.recordedAt < HISTORY_MS) return;
    this.recordedAt = at;
    const history = historySince(this.state, this.recorded);
    if (history !== null) journal.append(history);
    if (journal.isLong) journal.snapshot(snapshot(this.state, at));
  }

  /** Does now, or once the workers of the scheduler before are back, what needs to know of them. */
  private whenWhole(act: () => void): void {
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
      const link = this.workers.get(worker.id);
      if (link === undefined) continue;
      link.givenUp = reason;
      link.connection.close(CLOSE.unresponsive, reason);
      this.restartSilent(worker.facts);
    }
    if (closeIdle && this.closing === null && !this.idleClosing) {
      this.idleClosing = true;
      const idle = formatDuration(this.options.idleTimeout ?? 0);
      this.requestClose(`closed by its idle timeout: there was nothing to do for ${idle}`);
    }
  }

  /** A worker that is there and says nothing is ended, and started anew, by its nanny. */
  private restartSilent({ name, nanny }: { name: string; nanny: string }): void {
    const link = this.nannies.get(nanny);
    if (link === undefined) return;
    link.requester
      .request('restart-workers', { names: [name] }, 60_000)
      .catch((error: Error) => this.log.warn(`worker ${name} is not restarted: ${error.message}`));
  }

  // ---------------------------------------------------------------- links

  private addRoutes(): void {
    const { server } = this;
    server.loginPage = LOGIN_PAGE;
    server.link('/client', (socket, peer) => this.openClient(socket, peer));
    server.link('/worker', (socket, peer) => this.openWorker(socket, peer));
    server.link('/nanny', (socket, peer) => this.openNanny(socket, peer));
    server.link('/feed', socket => this.feed.open(socket), true);
    server.route('GET', '/api/info', () => ({ status: 200, body: this.info() }));
    server.route('GET', '/api/logs', async () => ({ status: 200, body: await this.logs() }));
    server.route('GET', '/api/dump', async () => ({
      status: 200,
      body: await clusterDump(this),
      type: 'application/gzip'
    }));
    server.route('POST', '/api/scale', async request => {
      const { workers } = (request.body ?? {}) as { workers?: unknown };
      await this.scaling.scale(workers);
      return { status: 200, body: this.info() };
    });
    server.route('POST', '/api/adapt', request => {
      const { minimum, maximum, off } = (request.body ?? {}) as AdaptWish & { off?: boolean };
      this.scaling.adapt(off === true ? null : { minimum, maximum });
      return { status: 200, body: this.info() };
    });
    server.route('POST', '/api/restart-workers', async () => {
      await this.scaling.askNannies('restart-workers', {});
      return { status: 200, body: this.info() };
    });
    server.route('POST', '/api/close', request => {
      const reason = (request.body as { reason?: string } | undefined)?.reason ?? 'asked to';
      this.requestClose(reason);
      return { status: 204 };
    });
    server.route('GET', '/', () => servePage('index.html'));
    server.route('GET', '/page/*file', request => servePage(request.params['file'] ?? ''));
  }

  /** The first message of a link must be its registration, in time and of our version. */
  private handshake<
    Out extends { op: string },
    In extends { op: string },
    First extends In & Registration
  >(
    socket: WebSocket,
    peer: string,
    op: First['op'],
    opened: (connection: Connection<Out>, first: First) => OpenLink<In> | null,
    alive: KeepAliveOptions = {}
  ): void {
    let link: OpenLink<In> | null = null;
    const timer = setTimeout(
      () => connection.close(CLOSE.handshakeTimeout, 'no registration in time'),
      LIMITS.handshakeMs
    );
    const handlers: ConnectionHandlers<In> = {
      onMessages: batch => {
        if (link === null) {
          clearTimeout(timer);
          const first = batch.shift() as First | undefined;
          if (first?.op !== op)
            return connection.close(CLOSE.badHello, `the first message must be ${op}`);
          if (first.protocol !== PROTOCOL_VERSION) {
            const versions = `protocol ${first.protocol}, this scheduler speaks ${PROTOCOL_VERSION}`;
            return connection.close(
              CLOSE.badVersion,
              `you speak ${versions}: install one version on both sides`
            );
          }
          checkMessage(first);
          const refused = refusal(first.version ?? '', packageVersion());
          if (refused !== null) return connection.close(CLOSE.badVersion, refused);
          this.versions.add(connection, op, first.name ?? first.nanny ?? '', first.versions);
          const warning = op === 'register-client' ? null : this.versions.warningOf(connection);
          if (warning !== null) this.log.warn(warning);
          link = opened(connection, first);
        }
        for (const message of batch) checkMessage(message);
        if (batch.length > 0) link?.messages(batch);
      },
      onClose: ({ code, reason }) => {
        clearTimeout(timer);
        this.versions.remove(connection);
        link?.closed(reason === '' ? `connection lost (${code})` : reason, code);
      }
    };
    const connection = accept<Out, In>(socket, peer, handlers, alive);
  }

  private openClient(socket: WebSocket, peer: string): void {
    this.handshake<SchedulerToClient, ClientToScheduler, RegisterClient>(
      socket,
      peer,
      'register-client',
      (connection, first) => {
        const id = String(first.client);
        const { weight = 1 } = first;
        // First: it throws, and the link is closed, when the weight makes no sense.
        this.apply({ type: 'add-client', client: id, name: first.name, weight });
        const before = this.clients.get(id);
        this.clients.set(id, connection);
        // It is back before its broken link was noticed here.
        before?.close(CLOSE.replaced, 'the client has connected anew');
        const { name, kind } = this.options;
        const warning = this.versions.warningFor(connection);
        connection.send({
          op: 'hello',
          protocol: PROTOCOL_VERSION,
          cluster: { id: this.id, name, kind },
          ...(warning === null ? {} : { warning }),
          epoch: this.state.epoch
        });
        this.log.info(`client ${first.name} connected`);
        const methods = clientMethods(this, id);
        return {
          messages: batch => {
            for (const message of batch) {
              if (message.op !== 'request')
                this.apply({ type: 'client-message', client: id, message });
              else {
                const answer = (): void =>
                  void answerRequest(message, methods, response => connection.send(response));
                if (NEEDS_WORKERS.has(message.method)) this.whenWhole(answer);
                else answer();
              }
            }
          },
          closed: (reason, code) => {
            if (this.clients.get(id) !== connection) return;
            this.clients.delete(id);
            const lost = BROKEN.has(code);
            this.apply({ type: lost ? 'client-lost' : 'remove-client', client: id });
            this.log.info(`client ${first.name} ${lost ? 'is lost' : 'left'}: ${reason}`);
          }
        };
      },
      // A notebook whose cell computes answers no ping.
      { silenceMs: Infinity }
    );
  }

  private openWorker(socket: WebSocket, peer: string): void {
    this.handshake<SchedulerToWorker, WorkerToScheduler, RegisterWorker>(
      socket,
      peer,
      'register-worker',
      (connection, first) => {
        const id = this.state.nextWorker;
        const requester = new Requester(message => connection.send(message));
        const link: WorkerLink = { connection, requester, register: first, givenUp: null };
        const before = [...this.workers].find(([, one]) => sameProcess(one.register, first));
        this.workers.set(id, link);
        const { epoch, tids, keys, nbytes, types, running } = first;
        const held = { epoch, tids, keys, nbytes, types, running };
        this.apply({ type: 'add-worker', worker: id, facts: first, held });
        if (before !== undefined) this.replaced(before[0], before[1]);
        this.options.onWorkers?.(this.state.workers.size);
        if (keys.length > 0) {
          const kept = [...(this.state.workers.get(id)?.hasWhat ?? [])].length;
          this.log.info(`worker ${first.name} is back with ${kept} of ${keys.length} values`);
        }
        this.log.info(
          `worker ${first.name} registered from ${first.address} with ${first.nthreads} threads`
        );
        return {
          messages: batch => {
            for (const message of batch) {
              if (message.op === 'response') requester.answer(message);
              else if (message.op === 'close-gracefully') {
                const { reason, timeout, restart } = message;
                void this.scaling.leave([id], reason, timeout, restart);
              } else this.apply({ type: 'worker-message', worker: id, message });
            }
          },
          closed: (linkReason, code) => {
            const reason = link.givenUp ?? linkReason;
            requester.fail(`Worker ${first.name} is gone: ${reason}.`);
            // Its process may be there still, holding memory for nobody.
            if (code === CLOSE.unresponsive && link.givenUp === null) this.restartSilent(first);
            const silent = code === CLOSE.unresponsive;
            void this.workerGone(id, first, reason, silent);
          }
        };
      }
    );
  }

  /** The same process has registered anew: its link broke, which is no fault of its tasks. */
  private replaced(id: number, link: WorkerLink): void {
    this.workers.delete(id);
    this.awaited.get(`${link.register.name}:${link.register.pid}`)?.(null);
    link.connection.close(CLOSE.replaced, 'the worker has connected anew');
    const reason = 'its link broke, and it came back';
    this.feed.workerLeft(id, reason);
    this.apply({ type: 'remove-worker', worker: id, reason, expected: true });
  }

  private async workerGone(
    id: number,
    register: RegisterWorker,
    linkReason: string,
    silent: boolean
  ): Promise<void> {
    if (!this.workers.has(id)) return;
    const exit = await this.exitReport(register);
    // It may have come back meanwhile.
    if (!this.workers.has(id)) return;
    // Its last words, unless it was only logging that all is well.
    const last = exit?.lastLines.findLast(line => !/ (info|debug): /.test(line));
    const reason =
      exit === null
        ? linkReason
        : exit.reason + (last === undefined ? '' : `; it last said: ${last}`);
    // Without a nanny's word: one that was leaving ends because it was asked to.
    const worker = this.state.workers.get(id);
    const leaving = worker !== undefined && this.state.retirements.has(worker);
    const expected = exit?.expected ?? leaving;
    this.workers.delete(id);
    if (this.closing !== null) return;
    this.log.add(expected ? 'info' : 'warn', `worker ${register.name} is gone: ${reason}`);
    this.feed.workerLeft(id, exit?.reason ?? linkReason);
    const mayReturn = exit !== null || leaving ? 0 : silent ? RETURN_SILENT_MS : RETURN_MS;
    this.apply({
      type: 'remove-worker',
      worker: id,
      reason,
      expected,
      mayReturn,
      ...executingOf(exit)
    });
    this.options.onWorkers?.(this.state.workers.size);
  }

  /** What the worker's nanny says of its end, or null when it has none or it says nothing in time. */
  private exitReport(register: RegisterWorker): Promise<WorkerExited | null> {
    const name = `${register.name}:${register.pid}`;
    const early = this.exits.get(name);
    this.exits.delete(name);
    if (early !== undefined || !this.nannies.has(register.nanny))
      return Promise.resolve(early ?? null);
    return new Promise(resolve => {
      const timer = setTimeout(() => settle(null), EXIT_REPORT_MS);
      const settle = (exit: WorkerExited | null): void => {
        clearTimeout(timer);
        this.awaited.delete(name);
        resolve(exit);
      };
      this.awaited.set(name, settle);
    });
  }

  private openNanny(socket: WebSocket, peer: string): void {
    this.handshake<SchedulerToNanny, NannyToScheduler, RegisterNanny>(
      socket,
      peer,
      'register-nanny',
      (connection, first) => {
        const requester = new Requester(message => connection.send(message));
        const link: NannyLink = { connection, requester, register: first, status: null };
        this.nannies.set(first.nanny, link);
        const { name, kind } = this.options;
        connection.send({
          op: 'hello',
          protocol: PROTOCOL_VERSION,
          cluster: { id: this.id, name, kind }
        });
        return {
          messages: batch => {
            for (const message of batch) {
              if (message.op === 'response') requester.answer(message);
              else if (message.op === 'nanny-status') link.status = message;
              else if (message.op === 'worker-exited') this.workerExited(message);
              else if (message.op === 'close-gracefully')
                void this.scaling.leaveHost(first.nanny, message.reason, message.timeout);
            }
          },
          closed: reason => {
            requester.fail(`Nanny ${first.nanny} is gone: ${reason}.`);
            if (this.nannies.get(first.nanny) === link) this.nannies.delete(first.nanny);
          }
        };
      }
    );
  }

  private workerExited(exit: WorkerExited): void {
    const name = `${exit.name}:${exit.pid}`;
    const settle = this.awaited.get(name);
    if (settle !== undefined) settle(exit);
    else {
      this.exits.set(name, exit);
      if (this.exits.size > 100) this.exits.delete(this.exits.keys().next().value as string);
    }
  }

  // ---------------------------------------------------------------- what can be asked

  /** What the launcher shows of this cluster (protocol/launcher.ts). */
  info(): Omit<ClusterInfo, 'state' | 'reason' | 'can'> & {
    reason: string | null;
    canScale: boolean;
  } {
    const workers = [...this.state.workers.values()];
    const nannies = [...this.nannies.values()];
    const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
    const counts = (at: number): number =>
      sum([...this.state.prefixes.values()].map(prefix => prefix.counts[at] ?? 0));
    return {
      id: this.id,
      name: this.options.name,
      kind: this.options.kind,
      reason: nannies.find(nanny => nanny.status?.reason)?.status?.reason ?? null,
      canScale: nannies.some(nanny => nanny.register.canScale),
      workers: {
        running: workers.length,
        starting: sum(nannies.map(nanny => nanny.status?.starting ?? 0)),
        pending: 0
      },
      threads: sum(workers.map(worker => worker.facts.nthreads)),
      memory: {
        used: sum(workers.map(worker => worker.metrics?.rss ?? 0)),
        limit: sum(workers.map(worker => worker.facts.memoryLimit))
      },
      tasks: { processing: counts(4), queued: counts(3), memory: counts(5), erred: counts(6) },
      startedAt: this.startedAt,
      madeBy: this.options.madeBy,
      address: this.address,
      adaptive: this.scaling.bounds
    };
  }

  /** Newest log lines of every process of the cluster; one that does not answer says so. */
  async logs(lines = 1000): Promise<ClusterLogs> {
    const ask = async (source: string, requester: Requester): Promise<ClusterLogs['logs']> => {
      try {
        const answer = await requester.request('logs', { n: lines }, 3000);
        return Array.isArray(answer)
          ? [{ source, lines: answer as string[] }]
          : (answer as ClusterLogs).logs;
      } catch (error) {
        return [
          { source, lines: [`(no log: ${error instanceof Error ? error.message : String(error)})`] }
        ];
      }
    };
    const others = await Promise.all([
      ...[...this.workers.values()].map(link => ask(link.register.name, link.requester)),
      ...[...this.nannies.values()].map(link => ask('nanny', link.requester))
    ]);
    return { logs: [{ source: 'scheduler', lines: this.log.tail(lines) }, ...others.flat()] };
  }

  /** Ends the cluster: through its nanny when it has one, else this process alone. */
  requestClose(reason: string): void {
    const owner = [...this.nannies.values()].find(nanny => nanny.register.canScale);
    if (owner === undefined) setImmediate(() => void this.close(reason));
    else owner.requester.request('close', { reason }, 10_000).catch(() => this.close(reason));
  }
}

function sameProcess(a: RegisterWorker, b: RegisterWorker): boolean {
  return a.address === b.address && a.pid === b.pid && a.name === b.name;
}

/** What a worker executed at its end, when its nanny knows. */
function executingOf(exit: WorkerExited | null): { executing?: Executing } {
  if (exit?.tids === undefined || exit.runIds === undefined) return {};
  return { executing: { tids: exit.tids, runIds: exit.runIds } };
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

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml'
};

/** A file of the built dashboard page, which lies beside the bundled runtime. */
async function servePage(file: string): Promise<HttpAnswer> {
  const inDist = import.meta.url.endsWith('.mjs');
  const folder = fileURLToPath(new URL(inDist ? './page/' : '../../dist/page/', import.meta.url));
  const path = normalize(join(folder, file));
  if (!path.startsWith(folder)) return { status: 404, body: 'no such file' };
  try {
    const body = await readFile(path);
    return { status: 200, body, type: TYPES[extname(path)] ?? 'application/octet-stream' };
  } catch {
    return { status: 404, body: 'The dashboard page is not part of this installation.' };
  }
}
