/**
 * The client: submits functions to a cluster and follows the results. `connect` finds the cluster;
 * `with` gives the same client with other call options.
 */
import { createHash, randomBytes } from 'node:crypto';
import { CancelledError, ConfigError, SerializationError, TimeoutError } from '../base/errors.ts';
import { executorContext } from '../base/task-context.ts';
import { activeCluster, findCluster, listConnectionFiles } from '../config/connection-file.ts';
import { LocalCluster } from '../deploy/local.ts';
import type { ClusterInfo, ClusterLogs } from '../protocol/launcher.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { ErrorRecord, TaskOptions } from '../protocol/messages.ts';
import { captureFunction } from '../serialize/capture.ts';
import type { CapturedFunction } from '../serialize/capture.ts';
import {
  deserializeValue,
  packFrames,
  serializeValueAsync,
  unpackFrames
} from '../serialize/value.ts';
import type { Serialized } from '../serialize/value.ts';
import { fetchCallStacks, fetchVersions, writeDump } from './diagnostics.ts';
import type { CallStack, Member, StoryLine } from './diagnostics.ts';
import { errorOf, localRecord } from './failure.ts';
import { Future } from './future.ts';
import { fetchDataset, publish } from './lasting.ts';
import { rebalance, replicate, retireWorkers } from './placement.ts';
import type { RetiredWorker, RetireOptions, WorkerNames } from './placement.ts';
import type { WaitOptions } from './future.ts';
import { Session } from './session.ts';
import type { ClusterIdentity, PutValue, Warning } from './session.ts';
import type { FutureRecord } from './state/client-state.ts';

/** A value, or futures of it, nested anywhere. */
export type Arg<T> =
  | T
  | Future<T>
  | (T extends (...args: never[]) => unknown
      ? never
      : T extends object
        ? { [K in keyof T]: Arg<T[K]> }
        : never);
export type Args<A extends readonly unknown[]> = { [K in keyof A]: Arg<A[K]> };

/** Options of a call; see `Client.with`. */
export interface CallOptions {
  /** Larger runs first. Default 0. */
  priority?: number;
  /** How often a task that throws is tried again. Default 0. */
  retries?: number;
  /** Seconds a task may run before it is killed. Default: no limit. */
  timeout?: number;
  /** Only on these workers (names, addresses or hosts). */
  workers?: string | readonly string[];
  /** Take `workers` as a wish. Default false. */
  allowOtherWorkers?: boolean;
  /** Amounts of worker resources a task holds while it runs. */
  resources?: Readonly<Record<string, number>>;
  /** Name of the (first) task. Default: function name and a number. */
  key?: string;
  /** The same function with the same arguments is the same task. Default false. */
  pure?: boolean;
  /** Seconds within which submissions count as one for the order of execution. Default 0.1. */
  fifoTimeout?: number;
}

export interface ConnectOptions {
  /** Token of the cluster; default: its connection file's, or TASKLOOM_TOKEN. */
  token?: string;
  /** Shown in the scheduler's log. */
  name?: string;
  /** Seconds to connect in. Default 10. */
  timeout?: number;
  /** Hears, once for each reason, what nothing has failed of yet; default: console.warn. */
  onWarning?: (warning: Warning) => void;
  /**
   * Part of the workers that this client gets while other clients have work, too: one of weight 2
   * gets twice the time of one of weight 1. Above 0, at most 1000; default 1.
   */
  weight?: number;
  /**
   * Seconds for which a scheduler that is lost is dialled again, futures staying as they are; 0 = not
   * at all. Default 60.
   */
  reconnectTimeout?: number;
}

/** A cluster object: anything that says where it is and how to be let in. */
export interface ClusterLike {
  readonly address: string;
  readonly token: string;
}

export class Client {
  readonly session: Session;
  private readonly call: CallOptions;
  private readonly taskOptions: TaskOptions;
  private readonly owned: { close(): Promise<void> } | null;

  private constructor(
    session: Session,
    call: CallOptions,
    owned: { close(): Promise<void> } | null
  ) {
    this.session = session;
    this.call = call;
    this.owned = owned;
    this.taskOptions = taskOptionsOf(call);
  }

  /**
   * Connects to a cluster object, to an address (`http://host:port`), to a cluster by its name, or,
   * with nothing, to the active cluster, or else to a new local one that ends with this client.
   */
  static async connect(
    target?: ClusterLike | string,
    options: ConnectOptions = {}
  ): Promise<Client> {
    const { weight } = options;
    if (weight !== undefined && !(weight > 0 && weight <= 1000)) {
      throw new ConfigError(`weight must be a number above 0 and at most 1000, not ${weight}.`);
    }
    const { access, owned } = await locate(target, options);
    const session = await Session.open({
      address: access.address,
      token: access.token,
      name: options.name ?? `${process.title === '' ? 'client' : process.title}-${process.pid}`,
      weight,
      ...(options.onWarning === undefined ? {} : { onWarning: options.onWarning }),
      ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout * 1000 }),
      ...(options.reconnectTimeout === undefined
        ? {}
        : { reconnectMs: options.reconnectTimeout * 1000 })
    });
    const cluster = owned ?? target;
    // Its owner knows at once that it will not come back.
    if (cluster instanceof LocalCluster)
      void cluster.finished.then(reason => session.clusterEnded(reason));
    return new Client(session, {}, owned);
  }

  /** The same client, with these call options for what it submits. */
  with(options: CallOptions): Client {
    return new Client(this.session, { ...this.call, ...options }, this.owned);
  }

  get cluster(): ClusterIdentity {
    return this.session.cluster;
  }
  get address(): string {
    return this.session.address;
  }

  // ---------------------------------------------------------------- submitting

  /**
   * Runs `fn(...args)` on a worker. Futures anywhere in the arguments become dependencies: the
   * function gets their results. Throws SerializationError at once for what cannot be shipped.
   */
  submit<A extends readonly unknown[], R>(
    fn: (...args: A) => R,
    ...args: Args<A>
  ): Future<Awaited<R>> {
    const [future] = this.submitAll(fn, [args as readonly unknown[]], false);
    return future as Future<Awaited<R>>;
  }

  /** Runs `fn` once for each item (and for the items of further iterables beside it). */
  map<T, R>(
    fn: (item: T, ...rest: never[]) => R,
    items: Iterable<Arg<T>>,
    ...more: Iterable<unknown>[]
  ): Future<Awaited<R>>[] {
    const columns = [[...items], ...more.map(column => [...column])];
    const count = Math.min(...columns.map(column => column.length));
    const calls: unknown[][] = [];
    for (let i = 0; i < count; i++) calls.push(columns.map(column => column[i]));
    return this.submitAll(fn as (...args: never[]) => unknown, calls, true) as Future<Awaited<R>>[];
  }

  private submitAll(
    fn: (...args: never[]) => unknown,
    calls: readonly (readonly unknown[])[],
    isMap: boolean
  ): Future[] {
    const { session } = this;
    session.mustBeOpen();
    const looks = new Looks();
    const captured = looks.at(captureFunction(fn, { reference: value => value instanceof Future }));
    const packed = calls.map(args => this.pack(args, looks));
    const name = fn.name === '' ? 'lambda' : fn.name;
    const keys = this.keysFor(name, calls.length, isMap);
    const now = Date.now();
    const parent = executorContext()?.current()?.tid ?? 0;
    const records = keys.map(key => session.state.create(key, name, now));
    const futures = records.map(record => new Future(session, record));
    const deliver = (): void => {
      if (looks.failure === null) this.send(captured(), packed, records, isMap, parent);
      else this.failAll(records, looks.failure);
    };
    session.outbox.inOrder(deliver, looks.ready());
    return futures;
  }

  private failAll(records: readonly FutureRecord[], error: unknown): void {
    for (const record of records) {
      this.session.state.fail(record, localRecord(record.key, error));
      this.session.notify(record);
    }
  }

  private send(
    captured: CapturedFunction,
    packed: readonly PackedCall[],
    records: readonly FutureRecord[],
    isMap: boolean,
    parent: number
  ): void {
    const { session } = this;
    const { outbox } = session;
    const captureDeps = captured.futures.map(future => (future as Future).record.cid);
    const fn = session.functionNumber(captured.hash, captured.name, captured.blob);
    const fifo = (this.call.fifoTimeout ?? 0.1) * 1000;
    if (isMap) outbox.flush();
    packed.forEach((call, i) => {
      const record = records[i] as FutureRecord;
      if (this.call.pure === true && this.call.key === undefined) {
        record.key = `${captured.name}-${pureHash(captured, call, captureDeps, session)}`;
      }
      const deps = captureDeps.length === 0 ? call.deps : [...captureDeps, ...call.deps];
      outbox.task(
        { cid: record.cid, key: record.key, fn, args: call.args(), deps, parent },
        this.taskOptions,
        fifo
      );
    });
    if (isMap) outbox.flush();
  }

  /** Serialises arguments; futures in them become dependencies, numbered in order of appearance. */
  private pack(args: readonly unknown[], looks: Looks): PackedCall {
    const deps: number[] = [];
    const places = new Map<number, number>();
    const reference = (value: object): number | undefined => {
      if (!(value instanceof Future)) return undefined;
      const cid = this.dependency(value);
      let at = places.get(cid);
      if (at === undefined) places.set(cid, (at = deps.push(cid) - 1));
      return at;
    };
    const written = looks.at(serializeValueAsync(args, { reference, root: 'args' }), packArguments);
    return { args: written, deps };
  }

  private dependency(future: Future): number {
    if (future.session !== this.session) {
      throw new ConfigError(
        `Future ${future.key} belongs to another client. Bring its result here first.`
      );
    }
    if (future.record.status === 'cancelled' || future.record.status === 'lost') {
      throw new CancelledError(
        future.key,
        `${future.record.reason}; it cannot be an argument any more`
      );
    }
    return future.record.cid;
  }

  private keysFor(name: string, count: number, isMap: boolean): string[] {
    const given = this.call.key;
    if (given !== undefined) {
      return isMap ? Array.from({ length: count }, (_, i) => `${given}-${i}`) : [given];
    }
    if (!isMap) return [`${name}-${KEY_SALT}-${nextKey++}`];
    const group = `${name}-${KEY_SALT}m${nextKey++}`;
    return Array.from({ length: count }, (_, i) => `${group}-${i}`);
  }

  // ---------------------------------------------------------------- results and data

  /** Brings results here, in order. `errors: 'skip'` leaves failed ones out instead of throwing. */
  async gather<T>(
    futures: Iterable<Future<T>>,
    options: WaitOptions & { errors?: 'raise' | 'skip' } = {}
  ): Promise<T[]> {
    return (await this.session.gather([...futures], options)) as T[];
  }

  /**
   * Puts a value on a worker and gives a future for it. With `broadcast` every worker gets a copy,
   * passed on from worker to worker.
   */
  async scatter<T>(value: T, options: { broadcast?: boolean } = {}): Promise<Future<T>> {
    const { session } = this;
    const serialized = await serializeValueAsync(value, { root: 'value' });
    const type = typeName(value);
    const key = this.call.key ?? `${type}-${KEY_SALT}-${nextKey++}`;
    const nbytes = serialized.frames.reduce((sum, frame) => sum + frame.length, 0);
    const { epoch, tid, holders } = await this.putOnWorker({
      key,
      type,
      nbytes,
      serialized
    });
    const record = session.state.create(key, 'scatter', Date.now());
    // It lies on the workers already; the scheduler's word only confirms it.
    if (record.status === 'pending') Object.assign(record, { status: 'finished', type, nbytes });
    const future = new Future<T>(session, record);
    const names = { cids: [record.cid], keys: [key] };
    const facts = { tids: [tid], nbytes: [nbytes], types: [type] };
    session.outbox.inOrder(() => {
      const workers = [holders.map(holder => holder.id)];
      // A scheduler in place of the one that gave the number knows the value by its name alone.
      if (session.epoch !== epoch)
        session.outbox.message({ op: 'client-desires-keys', ...names, again: 'data' });
      else session.outbox.message({ op: 'scattered', ...names, ...facts, workers });
    });
    if (options.broadcast === true) await replicate(session, [future], null, this.call.workers);
    return future;
  }

  /** Where the value lies then. Numbers of a scheduler that died meanwhile are worth nothing. */
  private async putOnWorker(value: Omit<PutValue, 'tid'>): Promise<Put> {
    const { session } = this;
    const params = { count: 1, workers: this.taskOptions.workers };
    for (let tries = 1; ; tries++) {
      const plan = (await session.request('scatter-plan', params)) as {
        epoch: string;
        tids: number[];
        holders: Put['holders'][];
      };
      const tid = plan.tids[0] ?? 0;
      const holders = plan.holders[0] ?? [];
      try {
        const put = { tid, ...value };
        await session.alive(() =>
          Promise.all(holders.map(holder => session.put(holder.address, plan.epoch, [put])))
        );
        if (session.epoch === plan.epoch) return { epoch: plan.epoch, tid, holders };
      } catch (error) {
        if (session.epoch === plan.epoch || tries === 3) throw error;
      }
    }
  }

  /**
   * Sees to it that results lie on `count` workers (default: on all, or on all of `workers`), and that
   * so many stay. 1 ends that.
   */
  replicate(
    futures: Iterable<Future>,
    options: { count?: number; workers?: WorkerNames } = {}
  ): Promise<void> {
    return replicate(this.session, [...futures], options.count ?? null, options.workers);
  }

  /**
   * Evens out the memory of workers by moving results (default: any) from full ones to empty ones;
   * how many were moved.
   */
  rebalance(
    futures: Iterable<Future> | null = null,
    options: { workers?: WorkerNames } = {}
  ): Promise<number> {
    const list = futures === null ? null : [...futures];
    return rebalance(this.session, list, options.workers);
  }

  /**
   * Lets workers leave without losing anything: their values are moved to others first, their tasks
   * end or are given to others. What became of each.
   */
  retireWorkers(options: RetireOptions = {}): Promise<RetiredWorker[]> {
    return retireWorkers(this.session, options);
  }

  /** Runs a function once on every worker, beside its tasks; results by worker address. */
  async run<A extends readonly unknown[], R>(
    fn: (...args: A) => R,
    ...args: A
  ): Promise<Record<string, Awaited<R>>> {
    const captured = await captureFunction(fn, { reference: value => value instanceof Future });
    if (captured.futures.length > 0)
      throw new SerializationError('client.run takes no futures; use client.submit.');
    const packed = packFrames(await serializeValueAsync(args, { root: 'args' }));
    const params = { blob: captured.blob, args: packed, workers: this.taskOptions.workers };
    const answers = (await this.session.request('run', params)) as Record<string, RunAnswer>;
    const results: Record<string, Awaited<R>> = {};
    for (const [address, answer] of Object.entries(answers)) {
      if (answer instanceof Uint8Array)
        results[address] = deserializeValue(unpackFrames(answer)) as Awaited<R>;
      else throw errorOf(answer.error);
    }
    return results;
  }

  /**
   * Gives futures up, with all that depends on them. `force`: others' too, and running tasks are
   * killed. Tasks that this client has no future for (fired and forgotten, or another's) are
   * named by their keys, and then need `force`, for somebody else wants them.
   */
  cancel(
    futures: Iterable<Future | string>,
    options: { force?: boolean; reason?: string } = {}
  ): void {
    this.session.cancel([...futures], options);
  }
  /** Runs failed tasks again. */
  retry(futures: Iterable<Future>): void {
    this.session.retry([...futures]);
  }

  // ---------------------------------------------------------------- datasets

  /**
   * Keeps futures on the cluster under a name, until `unpublishDataset`: `data` is a future or any
   * structure that holds futures, and `getDataset` gives the same structure to any client.
   */
  async publishDataset(
    name: string,
    data: unknown,
    options: { override?: boolean } = {}
  ): Promise<void> {
    const { override = false } = options;
    await publish(this.session, name, data, override, future => this.dependency(future));
  }
  /** What was published under this name; its futures are this client's own. */
  async getDataset<T = unknown>(name: string): Promise<T> {
    return (await fetchDataset(this.session, name)) as T;
  }
  /** Names of all published datasets. */
  async listDatasets(): Promise<string[]> {
    return (await this.session.request('list-datasets', {})) as string[];
  }
  /** Takes a name back; results that no client holds futures for are let go of. */
  async unpublishDataset(name: string): Promise<void> {
    await this.session.request('unpublish-dataset', { name });
  }

  // ---------------------------------------------------------------- looking

  /** Waits until at least `count` workers run. TimeoutError says how many came. */
  async waitForWorkers(count: number, options: WaitOptions = {}): Promise<void> {
    const end = Date.now() + (options.timeout ?? Infinity) * 1000;
    for (;;) {
      const { workers } = await this.schedulerInfo();
      if (workers.running >= count) return;
      if (Date.now() >= end) {
        throw new TimeoutError(
          `${workers.running} of ${count} workers came within ${options.timeout} s. Start workers ` +
            `(cluster.scale(${count})), or look at client.logs() for what keeps them.`
        );
      }
      await this.session.alive(() => new Promise(resolve => setTimeout(resolve, 50)));
    }
  }

  /** Addresses of the workers that hold each key. */
  async whoHas(futures?: Iterable<Future | string>): Promise<Record<string, string[]>> {
    const keys = futures === undefined ? null : [...futures].map(keyOf);
    return (await this.session.request('who-has', { keys })) as Record<string, string[]>;
  }
  /** Keys that each worker holds. */
  async hasWhat(): Promise<Record<string, string[]>> {
    return (await this.session.request('has-what', {})) as Record<string, string[]>;
  }
  /** Keys that each worker is to run. */
  async processing(): Promise<Record<string, string[]>> {
    return (await this.session.request('processing', {})) as Record<string, string[]>;
  }
  /** The newest steps of tasks, on the scheduler and on the workers that run now, oldest first. */
  async story(...keys: (Future | string)[]): Promise<StoryLine[]> {
    return (await this.session.request('story', { keys: keys.map(keyOf) })) as StoryLine[];
  }
  /**
   * Versions of the scheduler and of all that is connected to it. With `check`, throws
   * VersionMismatchError, with a table, when they differ in what matters.
   */
  async getVersions(options: { check?: boolean } = {}): Promise<Member[]> {
    return fetchVersions(this.session, options.check ?? false);
  }
  /** Why a task is where it is, in sentences. */
  async explain(key: Future | string): Promise<string> {
    if (
      key instanceof Future &&
      (key.record.status === 'error' || key.record.status === 'cancelled')
    ) {
      const error = this.session.errorOf(key.record);
      if (error !== null && key.record.error?.code === 'CLIENT')
        return `${key.key}: never sent. ${error.message}`;
    }
    return (await this.session.request('explain', { key: keyOf(key) })) as string;
  }
  /**
   * What the running tasks (all, or these) execute at this moment: their JavaScript stacks, also out
   * of a loop that never gives way. They are stopped for some milliseconds and go on.
   */
  async callStacks(
    futures?: Iterable<Future | string>,
    options: WaitOptions = {}
  ): Promise<CallStack[]> {
    const keys = futures === undefined ? null : [...futures].map(keyOf);
    return fetchCallStacks(this.session, keys, options.timeout ?? 2);
  }
  /**
   * Writes the state of scheduler and workers, stories, logs, versions and settings into a file, for
   * `taskloom dump show FILE`. Values and the token are not in it.
   */
  async dumpClusterState(file: string): Promise<void> {
    this.session.mustBeOpen();
    await writeDump(this.session, file);
  }
  /** The cluster and its workers (`members`, by address). */
  async schedulerInfo(): Promise<SchedulerInfo> {
    return (await this.session.request('scheduler-info', {})) as SchedulerInfo;
  }
  /** Newest log lines of the scheduler, the workers and the nannies. */
  async logs(lines = 1000): Promise<ClusterLogs['logs']> {
    return ((await this.session.request('logs', { n: lines })) as ClusterLogs).logs;
  }
  /** Newest log lines by worker name. */
  async workerLogs(lines = 1000): Promise<Record<string, string[]>> {
    const { members } = await this.schedulerInfo();
    const names = new Set(Object.values(members).map(member => member.name));
    const logs = await this.logs(lines);
    return Object.fromEntries(
      logs.filter(log => names.has(log.source)).map(log => [log.source, log.lines])
    );
  }

  /** Leaves the cluster, which forgets this client's futures; ends it if `connect` made it. */
  async close(): Promise<void> {
    await this.session.close();
    await this.owned?.close();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  toString(): string {
    const { cluster, address, endReason } = this.session;
    return `Client(${cluster.name}, ${address}${endReason === null ? '' : `, ended: ${endReason}`})`;
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
  [Symbol.for('Deno.customInspect')](): string {
    return this.toString();
  }
}

/** A value that lies on workers. */
interface Put {
  epoch: string;
  tid: number;
  holders: { id: number; address: string }[];
}

interface PackedCall {
  /** To be asked for once all looks are over. */
  args: () => Uint8Array;
  deps: number[];
}

/**
 * Looks at functions and values on their way out. In Node they are over at once; in a Deno kernel
 * the first look at a function takes a turn, and the task is sent after it.
 */
class Looks {
  /** The first error of a look that took a turn; one that is over at once throws. */
  failure: unknown = null;
  private readonly waits: Promise<unknown>[] = [];

  /** How to get what a look finds, as `change` makes it, once all are over. */
  at<T, U = T>(
    look: T | Promise<T>,
    change: (value: T) => U = value => value as unknown as U
  ): () => U {
    if (!(look instanceof Promise)) {
      const value = change(look);
      return () => value;
    }
    let found: U | undefined;
    const wait = look.then(value => {
      found = change(value);
    });
    this.waits.push(wait.catch((error: unknown) => (this.failure ??= error)));
    return () => found as U;
  }

  /** Resolves when all are over; null when they are already. */
  ready(): Promise<unknown> | null {
    return this.waits.length === 0 ? null : Promise.all(this.waits);
  }
}

function packArguments(written: Serialized): Uint8Array {
  const bytes = packFrames(written);
  if (bytes.length <= LIMITS.functionBytes) return bytes;
  throw new SerializationError(
    `The arguments are ${(bytes.length / 1e6).toFixed(0)} MB, too much to send through the scheduler. ` +
      `Put large values on the workers first: const data = await client.scatter(value), then pass the future.`
  );
}
type RunAnswer = Uint8Array | { error: ErrorRecord };

export interface SchedulerInfo extends Omit<ClusterInfo, 'state' | 'can'> {
  members: Record<
    string,
    {
      name: string;
      address: string;
      pid: number;
      host: string;
      nthreads: number;
      memoryLimit: number;
      status: string;
      processing: number;
      inMemory: number;
      nbytes: number;
    }
  >;
}

/** Makes keys of this process unlike those of others. */
const KEY_SALT = randomBytes(4).toString('hex');
let nextKey = 0;

function taskOptionsOf(call: CallOptions): TaskOptions {
  const { workers } = call;
  const whole = (name: string, value: number): number => {
    if (Number.isInteger(value) && value >= 0) return value;
    throw new ConfigError(`${name} must be a whole number from 0, not ${value}.`);
  };
  if (call.timeout !== undefined && !(call.timeout > 0)) {
    throw new ConfigError(`timeout must be a number of seconds above 0, not ${call.timeout}.`);
  }
  return {
    priority: call.priority ?? 0,
    retries: whole('retries', call.retries ?? 0),
    timeout: call.timeout ?? 0,
    workers: workers === undefined ? null : typeof workers === 'string' ? [workers] : [...workers],
    allowOtherWorkers: call.allowOtherWorkers ?? false,
    resources: call.resources === undefined ? null : { ...call.resources }
  };
}

/** Equal for equal functions, captured values, arguments and dependencies. */
function pureHash(
  captured: CapturedFunction,
  call: PackedCall,
  captureDeps: readonly number[],
  session: Session
): string {
  const hash = createHash('sha256').update(captured.hash).update(call.args());
  for (const cid of [...captureDeps, ...call.deps])
    hash.update(`\0${session.state.records.get(cid)?.key ?? cid}`);
  return hash.digest('hex').slice(0, 32);
}

function keyOf(key: Future | string): string {
  return typeof key === 'string' ? key : key.key;
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  return (value.constructor as { name?: string } | undefined)?.name ?? 'object';
}

interface Access {
  address: string;
  token: string;
}

async function locate(
  target: ClusterLike | string | undefined,
  options: ConnectOptions
): Promise<{ access: Access; owned: { close(): Promise<void> } | null }> {
  if (typeof target === 'object') return { access: target, owned: null };
  const named = target ?? process.env['TASKLOOM_SCHEDULER'] ?? '';
  if (named !== '') return { access: accessByName(named, options.token), owned: null };
  const active = activeCluster();
  if (active !== null) return { access: active, owned: null };
  const cluster = await LocalCluster.create();
  return { access: cluster, owned: cluster };
}

/** A name needs a connection file; an address needs one only for its token. */
function accessByName(target: string, given: string | undefined): Access {
  if (!target.includes('://')) return findCluster(target);
  const address = target.replace(/\/+$/, '');
  const file = listConnectionFiles().find(one => one.address === address);
  const token = given ?? file?.token ?? process.env['TASKLOOM_TOKEN'];
  if (token !== undefined) return { address, token };
  throw new ConfigError(
    `No token for ${address}: it has no connection file here. Give it with ` +
      `Client.connect(address, { token }), or set TASKLOOM_TOKEN.`
  );
}
