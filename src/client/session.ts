/**
 * One connection of one process to a cluster: the futures' records, what waits for them, and what is
 * said and asked. Clients with different call options share a session.
 *
 * When the link breaks, the session is away: futures keep their state, what is submitted, cancelled
 * or released is noted, questions wait. The link dials again until `reconnectTimeout` has passed;
 * once back the session says again all that it still wants (state/ledger.ts), to a scheduler that
 * may be another.
 */
import { randomUUID } from 'node:crypto';
import { CommClosedError } from '../base/errors.ts';
import { executorContext } from '../base/task-context.ts';
import { Requester } from '../comm/rpc.ts';
import type {
  ClientHello,
  ClientToScheduler,
  SchedulerToClient,
  TaskWarning
} from '../protocol/messages.ts';
import { errorOf, goneError } from './failure.ts';
import { Future } from './future.ts';
import { GraphOutbox } from './graph-outbox.ts';
import { SchedulerLink } from './scheduler-link.ts';
import { ClientState } from './state/client-state.ts';
import type { FutureRecord } from './state/client-state.ts';
import { Ledger } from './state/ledger.ts';
import type { Outcome } from './state/segments.ts';
import { Values } from './values.ts';

/** How a session is opened. */
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

/** The cluster that has said hello. */
export interface ClusterIdentity {
  id: string;
  name: string;
  kind: string;
}

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

/** What all clients of one connection share. */
export class Session {
  readonly id = `client-${randomUUID().slice(0, 8)}`;
  readonly address: string;
  readonly name: string;
  readonly state = new ClientState();
  readonly outbox: GraphOutbox;
  cluster: ClusterIdentity = { id: '', name: '', kind: '' };
  /** Of the scheduler there is, or was last: its numbers mean nothing to another. */
  epoch = '';
  /** Fetches values from workers, and puts them there. */
  readonly values: Values;
  private readonly options: SessionOptions;
  private readonly link: SchedulerLink;
  private readonly ledger = new Ledger();
  /** What waits for the link while it is broken. */
  private readonly backListeners = new Set<() => void>();
  private readonly requester: Requester;
  private readonly watchers = new Map<number, Set<() => void>>();
  private readonly functions = new Map<string, number>();
  private nextFunction = 1;
  private waits = 0;
  private lettingGo: NodeJS.Immediate | null = null;
  private ended: string | null = null;
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
    this.outbox = new GraphOutbox(
      message => this.transmit(message),
      () => this.link.flush()
    );
    this.requester = new Requester(message => this.outbox.message(message));
    this.link = this.makeLink(options);
    this.values = new Values(this, options.token);
  }

  /** Connects and says hello. Rejects with an error that names the address and the cause. */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    await session.link.open();
    return session;
  }

  private makeLink({
    address,
    token,
    name,
    weight,
    timeoutMs,
    reconnectMs
  }: SessionOptions): SchedulerLink {
    return new SchedulerLink({
      address,
      token,
      client: this.id,
      name,
      weight,
      timeoutMs,
      reconnectMs,
      onHello: (hello, again) => this.greet(hello, again),
      onMessage: message => this.receive(message),
      onLost: why => this.requester.fail(`The link broke before the answer came: ${why}.`),
      onGone: reason => this.end(reason)
    });
  }

  private greet(hello: ClientHello, again: boolean): void {
    if (!again && hello.warning !== undefined) {
      process.emitWarning(hello.warning, 'TaskloomVersionWarning');
    }
    this.cluster = hello.cluster;
    this.epoch = hello.epoch;
    if (again) this.resume();
  }

  /** Says a message, in the order of all that the client says. */
  private transmit(message: ClientToScheduler): void {
    this.ledger.note(message, this.link.isOpen);
    this.link.send(message);
  }

  /** Back: says all that is wanted, then what waited may go on. */
  private resume(): void {
    const outcome = (cid: number): Outcome => {
      const record = this.state.records.get(cid);
      const failed = record?.status === 'error';
      return { pending: record?.status === 'pending', error: failed ? record.error : null };
    };
    this.outbox.flush();
    for (const message of this.ledger.resume(outcome)) this.link.send(message);
    for (const listener of [...this.backListeners]) listener();
  }

  /** Resolves when there is a link; at once when there is one. Rejects when the session ends. */
  private whenBack(): Promise<void> {
    if (this.link.isOpen) return Promise.resolve();
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
    this.link.leave();
    this.end('the client was closed');
  }

  /** Its cluster is known to be gone: nothing is waited for any more. */
  clusterEnded(reason: string): void {
    this.link.giveUp(reason);
  }

  private end(reason: string): void {
    if (this.ended !== null) return;
    this.ended = reason;
    this.link.end();
    this.values.close();
    this.requester.fail(`The cluster is gone: ${reason}.`);
    for (const record of this.state.end(reason)) this.notify(record);
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

  private receive(message: Exclude<SchedulerToClient, ClientHello>): void {
    if (message.op === 'response') this.requester.answer(message);
    else if (message.op === 'closing') this.end(message.reason);
    else if (message.op === 'task-warning') this.warn(message);
    else if (message.op === 'cancelled-keys') {
      this.ledger.unwant(message.cids);
      for (const record of this.state.handle(message)) this.notify(record);
    } else for (const record of this.state.handle(message)) this.notify(record);
  }

  /** Once for each reason, however many tasks it concerns. */
  private warn({ code, text, cids, count }: TaskWarning): void {
    if (this.warned.has(text)) return;
    this.warned.add(text);
    const keys = cids.flatMap(cid => this.state.records.get(cid)?.key ?? []);
    this.onWarning({ code, text, keys, count });
  }

  /** Wakes what waits for a record that has changed. */
  notify(record: FutureRecord): void {
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
    if (this.waits++ === 0 && this.lettingGo === null) this.link.keepsAlive(true);
    try {
      return await action();
    } finally {
      if (--this.waits === 0) this.letGo();
    }
  }

  /** At the end of the turn: most programs wait for the next task at once. */
  private letGo(): void {
    this.lettingGo ??= setImmediate(() => {
      this.lettingGo = null;
      if (this.waits === 0) this.link.keepsAlive(false);
    });
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
      this.notify(record);
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
}

function showWarning({ text, keys, count }: Warning): void {
  const more = count > 1 ? ` and ${count - 1} more` : '';
  const which = keys.length === 0 ? '' : ` (${keys[0]}${more}; client.explain(key) says more)`;
  console.warn(`taskloom: ${text}${which}`);
}
