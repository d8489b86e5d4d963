/**
 * The client: submits functions to a cluster and follows the results. `connect` finds the cluster;
 * `with` gives the same client with other call options. Each method is what a user may ask; how it
 * is done lies in the files of its theme.
 */
import { ConfigError } from '../base/errors.ts';
import { LocalCluster } from '../deploy/local.ts';
import type { ClusterLogs } from '../protocol/launcher.ts';
import type { Arg, Args, CallOptions } from './call-options.ts';
import { fetchInfo, fetchLogs, fetchWorkerLogs, waitForWorkers } from './cluster-info.ts';
import type { SchedulerInfo } from './cluster-info.ts';
import { fetchCallStacks, fetchVersions, writeDump } from './diagnostics.ts';
import type { CallStack, Member, StoryLine } from './diagnostics.ts';
import { Future } from './future.ts';
import type { WaitOptions } from './future.ts';
import { keyOf } from './keys.ts';
import { fetchDataset, publish } from './lasting.ts';
import { locate } from './locate.ts';
import type { ClusterLike, ConnectOptions } from './locate.ts';
import { rebalance, replicate, retireWorkers } from './placement.ts';
import type { RetiredWorker, RetireOptions, WorkerNames } from './placement.ts';
import { runOnWorkers } from './run.ts';
import { scatter } from './scatter.ts';
import { Session } from './session.ts';
import type { ClusterIdentity } from './session.ts';
import { dependency, Submitter } from './submit.ts';

/** A user's way to a cluster. */
export class Client {
  readonly session: Session;
  private readonly call: CallOptions;
  private readonly submitter: Submitter;
  private readonly owned: { close(): Promise<void> } | null;

  private constructor(
    session: Session,
    call: CallOptions,
    owned: { close(): Promise<void> } | null
  ) {
    this.session = session;
    this.call = call;
    this.owned = owned;
    this.submitter = new Submitter(session, call);
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
    const [future] = this.submitter.submitAll(fn, [args as readonly unknown[]], false);
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
    return this.submitter.submitAll(fn as (...args: never[]) => unknown, calls, true) as Future<
      Awaited<R>
    >[];
  }

  // ---------------------------------------------------------------- results and data

  /** Brings results here, in order. `errors: 'skip'` leaves failed ones out instead of throwing. */
  async gather<T>(
    futures: Iterable<Future<T>>,
    options: WaitOptions & { errors?: 'raise' | 'skip' } = {}
  ): Promise<T[]> {
    return (await this.session.values.gather([...futures], options)) as T[];
  }

  /**
   * Puts a value on a worker and gives a future for it. With `broadcast` every worker gets a copy,
   * passed on from worker to worker.
   */
  scatter<T>(value: T, options: { broadcast?: boolean } = {}): Promise<Future<T>> {
    return scatter(this.session, this.call, value, options.broadcast === true);
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
    const results = await runOnWorkers(this.session, this.call.workers, fn, args);
    return results as Record<string, Awaited<R>>;
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
    await publish(this.session, name, data, override, future => dependency(this.session, future));
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
    await waitForWorkers(this.session, count, options);
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
    return fetchInfo(this.session);
  }
  /** Newest log lines of the scheduler, the workers and the nannies. */
  async logs(lines = 1000): Promise<ClusterLogs['logs']> {
    return fetchLogs(this.session, lines);
  }
  /** Newest log lines by worker name. */
  async workerLogs(lines = 1000): Promise<Record<string, string[]>> {
    return fetchWorkerLogs(this.session, lines);
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
