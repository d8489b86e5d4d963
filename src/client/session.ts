/**
 * One connection of one process to a cluster: the link, the futures' records, what waits for them,
 * and the data links to workers. Clients with different call options share a session.
 *
 * When the link breaks, the session is away: futures keep their state, what is submitted, cancelled
 * or released is noted, questions wait. It dials again until `reconnectTimeout` has passed; once
 * back it says again all that it still wants (state/ledger.ts), to a scheduler that may be another.
 */
import { randomUUID } from 'node:crypto';
import {
  AuthenticationError,
  ClusterError,
  CommClosedError,
  ProtocolVersionError,
  TimeoutError
} from '../base/errors.ts';
import type { TaskloomError } from '../base/errors.ts';
import { executorContext } from '../base/task-context.ts';
import type { Connection } from '../comm/connection.ts';
import { DataPool } from '../comm/data.ts';
import { Requester } from '../comm/rpc.ts';
import { dial } from '../comm/websocket.ts';
import { isGoneForGood, isSupervised } from '../config/connection-file.ts';
import { versionError } from '../comm/refusal.ts';
import { ownVersions, packageVersion } from '../config/runtime.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  ClientHello,
  ClientToScheduler,
  SchedulerToClient,
  TaskWarning
} from '../protocol/messages.ts';
import { deserializeValue, deserializeValueAsync, unpackFrames } from '../serialize/value.ts';
import type { Serialized } from '../serialize/value.ts';
import { errorOf, goneError } from './failure.ts';
import { GraphOutbox } from './graph-outbox.ts';
import { Future } from './future.ts';
import type { WaitOptions } from './future.ts';
import { ClientState } from './state/client-state.ts';
import type { FutureRecord } from './state/client-state.ts';
import { Ledger } from './state/ledger.ts';
import type { Outcome } from './state/ledger.ts';

export interface SessionOptions {
  address: string;
  token: string;
  /** Shown in the scheduler's log. */
  name: string;
  /** See ConnectOptions. */
  weight?: number | undefined;
  /** Hears what the scheduler warns of; default: the console does. */
  onWarning?: (warning: Warning) => void;
  /** ms to connect in; default 10,000. */
  timeoutMs?: number;
  /** ms for which a lost scheduler is dialled again; 0 = not at all. Default 60,000. */
  reconnectMs?: number;
}

/** Nothing has failed, but somebody should know. */
export interface Warning {
  /** `NO_VALID_WORKER`: no worker is what tasks ask for. `KEY_COLLISION`: keys stand for something else already. */
  code: string;
  text: string;
  /** Some of the keys it is about, and how many they are. */
  keys: string[];
  count: number;
}

export interface ClusterIdentity {
  id: string;
  name: string;
  kind: string;
}

/** ms between tries to fetch a value whose holder did not answer. */
const FETCH_RETRY_MS = 100;
/** ms before the first redial; doubles up to the second. */
const REDIAL_MS = 100;
const REDIAL_MOST_MS = 2000;
const RECONNECT_MS = 60_000;
/** Closes after which the scheduler may be there again, or another in its place. */
const BROKEN: ReadonlySet<number> = new Set([1006, CLOSE.unresponsive, CLOSE.handshakeTimeout]);
/** Questions that change nothing: asked again when the link broke before the answer. */
const ASKED_AGAIN: ReadonlySet<string> = new Set([
  'locate',
  'states',
  'who-has',
  'has-what',
  'processing',
  'story',
  'explain',
  'scheduler-info',
  'scatter-plan',
  'logs'
]);
/** Functions a client keeps registered for later submissions. */
const FUNCTIONS_KEPT = 1000;

export class Session {
  readonly id = `client-${randomUUID().slice(0, 8)}`;
  readonly address: string;
  readonly name: string;
  readonly state = new ClientState();
  readonly outbox: GraphOutbox;
  cluster: ClusterIdentity = { id: '', name: '', kind: '' };
  /** Of the scheduler there is, or was last: its numbers mean nothing to another. */
  epoch = '';
  private connection: Connection<ClientToScheduler> | null = null;
  private readonly options: SessionOptions;
  private readonly ledger = new Ledger();
  /** The scheduler has said hello on this link. */
  private welcomed = false;
  /** What waits for the link while it is broken. */
  private readonly backListeners = new Set<() => void>();
  private redialTimer: ReturnType<typeof setTimeout> | null = null;
  private readonly requester: Requester;
  private readonly pool: DataPool;
  private readonly watchers = new Map<number, Set<() => void>>();
  private readonly functions = new Map<string, number>();
  private nextFunction = 1;
  private waits = 0;
  private ended: string | null = null;
  /** Its cluster has ended: a link that closes is not dialled again. */
  private gone: string | null = null;
  private released: number[] = [];
  private readonly warned = new Set<string>();
  private readonly onWarning: (warning: Warning) => void;
  private readonly endListeners = new Set<(reason: string) => void>();
  private readonly collected = new FinalizationRegistry<number>(cid => this.release(cid));

  private constructor(options: SessionOptions) {
    this.options = options;
    this.address = options.address;
    this.name = options.name;
    this.onWarning = options.onWarning ?? showWarning;
    this.outbox = new GraphOutbox(message => this.transmit(message));
    this.requester = new Requester(message => this.outbox.message(message));
    this.pool = new DataPool(options.token);
  }

  /** Connects and says hello. Rejects with an error that names the address and the cause. */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    await session.connectFirst();
    session.connection?.keepsAlive(false);
    return session;
  }

  /** A scheduler that is being started again is waited for. */
  private async connectFirst(): Promise<void> {
    const { address, timeoutMs } = this.options;
    const until = performance.now() + (timeoutMs ?? LIMITS.handshakeMs);
    for (;;) {
      try {
        return await this.connect();
      } catch (error) {
        const again = error instanceof CommClosedError && isSupervised(address);
        if (!again || performance.now() > until) throw error;
        await new Promise(resolve => setTimeout(resolve, REDIAL_MS));
      }
    }
  }

  /** Dials and registers; resolves when the scheduler has said hello. */
  private async connect(): Promise<void> {
    const { address, token, timeoutMs, name, weight } = this.options;
    let welcome: () => void = () => undefined;
    let refuse: (error: Error) => void = () => undefined;
    const hello = new Promise<void>((resolve, reject) => {
      welcome = resolve;
      refuse = reject;
    });
    // The dial may fail first: then nobody waits for the hello.
    hello.catch(() => undefined);
    let mine: Connection<ClientToScheduler> | null = null;
    mine = await dial<ClientToScheduler, SchedulerToClient>(
      { address, path: '/client', token, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
      {
        onMessages: messages => {
          for (const message of messages) {
            if (message.op === 'hello') {
              const wrong = this.welcome(message);
              if (wrong === null) welcome();
              else refuse(wrong);
            } else this.receive(message);
          }
        },
        onClose: ({ code, reason }) => {
          refuse(helloError(address, code, reason));
          if (this.connection === mine) this.linkClosed(code, reason);
        }
      }
    );
    this.connection = mine;
    mine.send({
      op: 'register-client',
      protocol: PROTOCOL_VERSION,
      client: this.id,
      name,
      version: packageVersion(),
      versions: ownVersions(),
      ...(weight === undefined ? {} : { weight })
    });
    const late = new TimeoutError(
      `${address} said no hello within ${LIMITS.handshakeMs / 1000} s.`
    );
    const timer = setTimeout(() => {
      refuse(late);
      mine.close(CLOSE.handshakeTimeout, late.message);
    }, LIMITS.handshakeMs);
    await hello.finally(() => clearTimeout(timer));
  }

  /** Another scheduler in its place is welcome; another cluster is not. */
  private welcome(hello: ClientHello): Error | null {
    const back = this.cluster.id !== '';
    if (back && hello.cluster.id !== this.cluster.id) {
      return new ClusterError(`Another cluster (${hello.cluster.name}) is at ${this.address} now.`);
    }
    if (!back && hello.warning !== undefined) {
      process.emitWarning(hello.warning, 'TaskloomVersionWarning');
    }
    this.cluster = hello.cluster;
    this.epoch = hello.epoch;
    this.welcomed = true;
    if (back) this.resume();
    return null;
  }

  /** Says a message, in the order of all that the client says. */
  private transmit(message: ClientToScheduler): void {
    this.ledger.note(message, this.welcomed);
    if (this.welcomed) this.connection?.send(message);
  }

  // ---------------------------------------------------------------- a link that breaks

  private linkClosed(code: number, reason: string): void {
    const welcomed = this.welcomed;
    this.welcomed = false;
    if (this.ended !== null) return;
    const why = reason === '' ? `the connection to ${this.address} was lost` : reason;
    const limit = this.options.reconnectMs ?? RECONNECT_MS;
    if (!BROKEN.has(code) || limit <= 0 || this.gone !== null) return this.end(this.gone ?? why);
    // A redial that breaks before its hello goes on in `redial`.
    if (!welcomed) return;
    this.requester.fail(`The link broke before the answer came: ${why}.`);
    this.redialLater(why, REDIAL_MS, performance.now() + limit);
  }

  private redialLater(why: string, pauseMs: number, until: number): void {
    if (this.ended !== null) return;
    this.redialTimer = setTimeout(() => void this.redial(why, pauseMs, until), pauseMs);
    if (this.waits === 0) this.redialTimer.unref?.();
  }

  private async redial(why: string, pauseMs: number, until: number): Promise<void> {
    try {
      await this.connect();
      this.connection?.keepsAlive(this.waits > 0);
    } catch (error) {
      this.welcomed = false;
      const final =
        error instanceof AuthenticationError ||
        error instanceof ProtocolVersionError ||
        error instanceof ClusterError;
      if (final) return this.end(`${why}; ${error.message}`);
      if (isGoneForGood(this.cluster.id)) return this.end(`${why}; its processes have ended`);
      if (performance.now() >= until)
        return this.end(`${why}; it was not back in time (reconnectTimeout)`);
      this.redialLater(why, Math.min(2 * pauseMs, REDIAL_MOST_MS), until);
    }
  }

  /** Back: says all that is wanted, then what waited may go on. */
  private resume(): void {
    const outcome = (cid: number): Outcome => {
      const record = this.state.records.get(cid);
      const failed = record?.status === 'error';
      return { pending: record?.status === 'pending', error: failed ? record.error : null };
    };
    this.outbox.flush();
    for (const message of this.ledger.resume(outcome)) this.connection?.send(message);
    for (const listener of [...this.backListeners]) listener();
  }

  /** Resolves when there is a link; at once when there is one. Rejects when the session ends. */
  private whenBack(): Promise<void> {
    if (this.welcomed) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.backListeners.delete(settle);
        this.endListeners.delete(settle);
        if (this.ended === null) resolve();
        else reject(this.endError());
      };
      this.backListeners.add(settle);
      this.endListeners.add(settle);
    });
  }

  /** Where its scheduler is and how to be let in. */
  get access(): { address: string; token: string } {
    return { address: this.address, token: this.options.token };
  }

  get isOpen(): boolean {
    return this.ended === null;
  }
  get endReason(): string | null {
    return this.ended;
  }

  /** Calls back once when the session ends. */
  onEnd(listener: (reason: string) => void): void {
    if (this.ended === null) this.endListeners.add(listener);
    else listener(this.ended);
  }

  async close(): Promise<void> {
    if (this.ended !== null) return;
    await this.outbox.settled();
    this.connection?.close(CLOSE.normal, 'the client closed');
    this.end('the client was closed');
  }

  /** Its cluster is known to be gone: nothing is waited for any more. */
  clusterEnded(reason: string): void {
    this.gone = reason;
    if (!this.welcomed) this.end(reason);
  }

  private end(reason: string): void {
    if (this.ended !== null) return;
    this.ended = reason;
    this.welcomed = false;
    if (this.redialTimer !== null) clearTimeout(this.redialTimer);
    this.pool.close();
    this.requester.fail(`The cluster is gone: ${reason}.`);
    for (const record of this.state.end(reason)) this.changed(record);
    for (const listener of this.endListeners) listener(reason);
    this.endListeners.clear();
  }

  /** Throws when nothing can be sent any more. */
  mustBeOpen(): void {
    if (this.ended !== null) throw this.endError();
  }

  private endError(): CommClosedError {
    return new CommClosedError(
      `This client is not connected any more: ${this.ended ?? ''}. Connect again with Client.connect().`
    );
  }

  private receive(message: SchedulerToClient): void {
    if (message.op === 'response') this.requester.answer(message);
    else if (message.op === 'closing') this.end(message.reason);
    else if (message.op === 'task-warning') this.warn(message);
    else if (message.op === 'cancelled-keys') {
      this.ledger.unwant(message.cids);
      for (const record of this.state.handle(message)) this.changed(record);
    } else for (const record of this.state.handle(message)) this.changed(record);
  }

  /** Once for each reason, however many tasks it concerns. */
  private warn({ code, text, cids, count }: TaskWarning): void {
    if (this.warned.has(text)) return;
    this.warned.add(text);
    const keys = cids.flatMap(cid => this.state.records.get(cid)?.key ?? []);
    this.onWarning({ code, text, keys, count });
  }

  /** Wakes what waits for a record that the client itself has changed. */
  notify(record: FutureRecord): void {
    this.changed(record);
  }

  private changed(record: FutureRecord): void {
    const watchers = this.watchers.get(record.cid);
    if (watchers !== undefined) for (const watcher of [...watchers]) watcher();
  }

  /** Calls back at every change of a record, until the returned function is called. */
  watch(cid: number, watcher: () => void): () => void {
    let watchers = this.watchers.get(cid);
    if (watchers === undefined) this.watchers.set(cid, (watchers = new Set()));
    watchers.add(watcher);
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0 && this.watchers.get(cid) === watchers) this.watchers.delete(cid);
    };
  }

  async request(method: string, params: unknown, timeoutMs = 0): Promise<unknown> {
    this.mustBeOpen();
    return this.alive(async () => {
      for (;;) {
        await this.whenBack();
        try {
          return await this.requester.request(method, params, timeoutMs);
        } catch (error) {
          const broke = error instanceof CommClosedError && this.ended === null;
          if (!broke || !ASKED_AGAIN.has(method)) throw error;
        }
      }
    });
  }

  /** The process stays up while something is waited for, and only then. */
  async alive<T>(action: () => Promise<T>): Promise<T> {
    if (this.waits++ === 0) {
      this.connection?.keepsAlive(true);
      this.redialTimer?.ref?.();
    }
    try {
      return await action();
    } finally {
      if (--this.waits === 0) this.connection?.keepsAlive(false);
    }
  }

  /** Waits for tasks. Where a task waits, its slot is theirs meanwhile. */
  forTasks<T>(action: () => Promise<T>): Promise<T> {
    const task = executorContext()?.current();
    return task ? task.waiting(() => this.alive(action)) : this.alive(action);
  }

  // ---------------------------------------------------------------- functions and futures

  /** The number by which graphs speak of a function; told to the scheduler when new. */
  functionNumber(hash: string, name: string, blob: Uint8Array): number {
    let fn = this.functions.get(hash);
    if (fn !== undefined) {
      this.functions.delete(hash);
      this.functions.set(hash, fn);
      return fn;
    }
    fn = this.nextFunction++;
    this.functions.set(hash, fn);
    this.outbox.message({ op: 'register-function', fn, hash, name, blob });
    if (this.functions.size > FUNCTIONS_KEPT) {
      const [oldest, number] = this.functions.entries().next().value as [string, number];
      this.functions.delete(oldest);
      this.outbox.message({ op: 'release-functions', fns: [number] });
    }
    return fn;
  }

  /** Futures of keys that exist on the cluster already, whoever made them. */
  futuresOf(keys: readonly string[]): Future[] {
    const records = keys.map(key => {
      const cut = key.lastIndexOf('-');
      return this.state.create(key, cut > 0 ? key.slice(0, cut) : key, Date.now());
    });
    const cids = records.map(record => record.cid);
    this.outbox.inOrder(() =>
      this.outbox.message({ op: 'client-desires-keys', cids, keys: [...keys] })
    );
    return records.map(record => new Future(this, record));
  }

  track(future: Future): void {
    this.collected.register(future, future.record.cid, future);
  }

  /** Tells the scheduler, in one message a turn, that keys are not wanted any more. */
  release(cid: number): void {
    if (!this.state.release(cid) || this.ended !== null) return;
    this.released.push(cid);
    if (this.released.length > 1) return;
    setImmediate(() => {
      const cids = this.released;
      this.released = [];
      this.outbox.inOrder(() => this.outbox.message({ op: 'client-releases-keys', cids }));
    });
  }

  /** Futures of this session, or keys of tasks that it need not know. */
  cancel(which: readonly (Future | string)[], options: { force?: boolean; reason?: string }): void {
    this.mustBeOpen();
    const reason = options.reason ?? 'its user cancelled it';
    const futures = which.filter(one => typeof one !== 'string');
    const keys = which.filter(one => typeof one === 'string');
    const cids = futures.map(future => future.record.cid);
    for (const { record } of futures) {
      if (record.status !== 'pending' && record.status !== 'finished') continue;
      record.status = 'cancelled';
      record.reason = reason;
      this.changed(record);
    }
    const force = options.force ?? false;
    this.outbox.inOrder(() =>
      this.outbox.message({ op: 'cancel-keys', cids, keys, force, reason })
    );
  }

  retry(futures: readonly Future[]): void {
    this.mustBeOpen();
    for (const { record } of futures) if (record.status === 'error') this.state.retry(record);
    const cids = futures.map(future => future.record.cid);
    this.outbox.inOrder(() => this.outbox.message({ op: 'retry-keys', cids }));
  }

  /** The error to throw for a record, or null when there is none. */
  errorOf(record: FutureRecord): Error | null {
    if (record.status === 'error' && record.error !== null) return errorOf(record.error);
    if (record.status === 'cancelled' || record.status === 'lost') return goneError(record);
    return null;
  }

  // ---------------------------------------------------------------- waiting and fetching

  /** Waits until none of the futures is pending. */
  settled(futures: readonly Future[], options: WaitOptions = {}): Promise<void> {
    return this.waitFor(futures, options, pending => pending === 0);
  }

  /** Waits until `enough(pending, settled)`; rejects with TimeoutError, saying how many are done. */
  waitFor(
    futures: readonly Future[],
    options: WaitOptions,
    enough: (pending: number, settled: number) => boolean
  ): Promise<void> {
    const waiting = new Set(futures.filter(future => !future.done()).map(future => future.record));
    const total = futures.length;
    if (enough(waiting.size, total - waiting.size)) return Promise.resolve();
    return this.forTasks(
      () =>
        new Promise<void>((resolve, reject) => {
          const stops: (() => void)[] = [];
          const finish = (error: Error | null): void => {
            if (timer !== null) clearTimeout(timer);
            for (const stop of stops) stop();
            if (error === null) resolve();
            else reject(error);
          };
          const seconds = options.timeout;
          const expire = (): void =>
            finish(waitTimeout(total - waiting.size, total, seconds ?? 0, waiting));
          const timer = seconds === undefined ? null : setTimeout(expire, seconds * 1000);
          for (const record of waiting) {
            const check = (): void => {
              if (record.status === 'pending' || !waiting.delete(record)) return;
              if (enough(waiting.size, total - waiting.size)) finish(null);
            };
            stops.push(this.watch(record.cid, check));
          }
        })
    );
  }

  /** Results of futures, in order. The first failed one throws, or is left out with `errors: 'skip'`. */
  async gather(
    futures: readonly Future[],
    options: WaitOptions & { errors?: 'raise' | 'skip' } = {}
  ): Promise<unknown[]> {
    const skip = options.errors === 'skip';
    const end = options.timeout === undefined ? Infinity : Date.now() + options.timeout * 1000;
    const values = new Map<FutureRecord, unknown>();
    await this.alive(async () => {
      for (;;) {
        const timeout = end === Infinity ? {} : { timeout: Math.max(0, (end - Date.now()) / 1000) };
        await this.waitRaising(futures, timeout, skip);
        const missing = futures.filter(
          ({ record }) => record.status === 'finished' && !values.has(record)
        );
        // One may be lost or cancelled again before this looks for its value.
        const changed = futures.some(
          ({ record }) => !values.has(record) && (!skip || record.status === 'pending')
        );
        if (missing.length === 0 && !changed) return;
        const complete = await this.fetchRound(missing, values);
        if (!complete) await new Promise(resolve => setTimeout(resolve, FETCH_RETRY_MS));
        if (Date.now() > end)
          throw waitTimeout(values.size, futures.length, options.timeout ?? 0, []);
      }
    });
    const chosen = skip ? futures.filter(({ record }) => values.has(record)) : futures;
    return chosen.map(({ record }) => values.get(record));
  }

  /** Waits for all, but throws as soon as one has failed. */
  private async waitRaising(
    futures: readonly Future[],
    options: WaitOptions,
    skip: boolean
  ): Promise<void> {
    let failed: Future | undefined;
    const anyFailed = (): boolean => {
      failed ??= futures.find(
        ({ record }) => record.status !== 'pending' && record.status !== 'finished'
      );
      return failed !== undefined;
    };
    // Looking through all futures at each change would be quadratic: a failure counts itself in.
    let failures = anyFailed() ? 1 : 0;
    const stops = skip
      ? []
      : futures.map(future =>
          this.watch(future.record.cid, () => {
            const { status } = future.record;
            if (status === 'pending' || status === 'finished') return;
            failed ??= future;
            failures++;
          })
        );
    try {
      await this.waitFor(futures, options, pending => pending === 0 || (!skip && failures > 0));
    } finally {
      for (const stop of stops) stop();
    }
    if (skip || !anyFailed() || failed === undefined) return;
    const error = this.errorOf(failed.record);
    if (error !== null) throw error;
  }

  /** Brings what can be brought now; false when something must be tried again. */
  private async fetchRound(
    futures: readonly Future[],
    values: Map<FutureRecord, unknown>
  ): Promise<boolean> {
    const remote: FutureRecord[] = [];
    for (const { record } of futures) {
      if (record.inline === null) remote.push(record);
      else if (!values.has(record)) {
        const value = read(unpackFrames(record.inline));
        values.set(record, value instanceof Promise ? await value : value);
      }
    }
    if (remote.length === 0) return true;
    const where = (await this.request('locate', {
      cids: remote.map(({ cid }) => cid)
    })) as Located;
    const byHolder = new Map<string, { tid: number; record: FutureRecord }[]>();
    let complete = true;
    remote.forEach((record, i) => {
      const holders = where.holders[i] ?? [];
      const holder = holders[Math.floor(Math.random() * holders.length)];
      if (holder === undefined) {
        complete = false;
        return;
      }
      const wanted = { tid: where.tids[i] ?? 0, record };
      const list = byHolder.get(holder);
      if (list === undefined) byHolder.set(holder, [wanted]);
      else list.push(wanted);
    });
    const done = await Promise.all(
      [...byHolder].map(([holder, wanted]) => this.fetchFrom(holder, where.epoch, wanted, values))
    );
    return complete && done.every(Boolean);
  }

  private async fetchFrom(
    holder: string,
    epoch: string,
    wanted: { tid: number; record: FutureRecord }[],
    values: Map<FutureRecord, unknown>
  ): Promise<boolean> {
    let answer;
    try {
      answer = await this.pool.request(holder, {
        head: { op: 'get-data', epoch, tids: wanted.map(({ tid }) => tid) },
        frames: []
      });
    } catch {
      // The worker died or closed: the scheduler will say what becomes of its values.
      return false;
    }
    const head = answer.head as unknown as DataHead;
    if (head.busy === true) return false;
    const records = new Map(wanted.map(({ tid, record }) => [tid, record]));
    let at = 0;
    for (const [i, tid] of head.tids.entries()) {
      const count = head.counts[i] ?? 0;
      const frames = answer.frames.slice(at, at + count);
      at += count;
      const record = records.get(tid);
      if (record === undefined) continue;
      const value = read({ family: head.families[i] as Serialized['family'], frames });
      values.set(record, value instanceof Promise ? await value : value);
    }
    return wanted.every(({ record }) => values.has(record));
  }

  /** Puts values straight onto a worker. */
  async put(holder: string, epoch: string, values: PutValue[]): Promise<void> {
    const head = {
      op: 'put-data',
      epoch,
      tids: values.map(value => value.tid),
      keys: values.map(value => value.key),
      families: values.map(value => value.serialized.family),
      counts: values.map(value => value.serialized.frames.length),
      types: values.map(value => value.type),
      nbytes: values.map(value => value.nbytes)
    };
    await this.pool.request(holder, {
      head,
      frames: values.flatMap(value => value.serialized.frames)
    });
  }
}

export interface PutValue {
  tid: number;
  key: string;
  type: string;
  nbytes: number;
  serialized: Serialized;
}

interface Located {
  epoch: string;
  tids: number[];
  holders: string[][];
}

interface DataHead {
  busy?: boolean;
  tids: number[];
  families: string[];
  counts: number[];
}

/** A value; a promise of it only where it may hold functions, whose modules must be imported first. */
function read(serialized: Serialized): unknown {
  return serialized.family === 'plain'
    ? deserializeValue(serialized)
    : deserializeValueAsync(serialized);
}

function waitTimeout(
  done: number,
  total: number,
  seconds: number,
  waiting: Iterable<FutureRecord>
): TimeoutError {
  const [first] = waiting;
  const hint =
    first === undefined
      ? ''
      : ` client.explain(${JSON.stringify(first.key)}) tells why one of them waits.`;
  return new TimeoutError(`${done} of ${total} futures were done within ${seconds} s.${hint}`);
}

function helloError(address: string, code: number, reason: string): TaskloomError {
  if (code === CLOSE.badVersion) {
    return versionError(`The scheduler at ${address}`, reason);
  }
  return new CommClosedError(
    `${address} closed the connection: ${reason === '' ? `code ${code}` : reason}.`
  );
}

function showWarning({ text, keys, count }: Warning): void {
  const more = count > 1 ? ` and ${count - 1} more` : '';
  const which = keys.length === 0 ? '' : ` (${keys[0]}${more}; client.explain(key) says more)`;
  console.warn(`taskloom: ${text}${which}`);
}
