/**
 * A client's process around the real client state: what its user holds and expects, and readers
 * that fetch the values of finished futures as src/client/values.ts does: ask the scheduler who
 * holds the value, ask a holder, try again when that fails. A client that loses its
 * scheduler ends, or dials again and says again what it wants, as the plan has it.
 */
import { ClientState } from '../../src/client/state/client-state.ts';
import type { FutureRecord } from '../../src/client/state/client-state.ts';
import type {
  ClientToScheduler,
  ResponseMessage,
  SchedulerToClient
} from '../../src/protocol/messages.ts';
import { Ledger } from '../../src/client/state/ledger.ts';
import type { Outcome } from '../../src/client/state/segments.ts';
import type { Cluster } from './cluster.ts';
import { FUNCTIONS } from './graphs.ts';
import { Link, redialLater } from './link.ts';
import { describe } from './messages.ts';
import { unpackValue } from './program.ts';
import type { Behaviour } from './program.ts';
import type { World } from './world.ts';

/** ms between tries to fetch a value whose holder did not answer. */
const FETCH_RETRY_MS = 100;

/** A future, and what is known of how it must end. */
export interface Known {
  record: FutureRecord;
  key: string;
  deps: Known[];
  behaviour: Behaviour;
  retries: number;
  /** Seconds. */
  timeout: number;
  /** Restricted to workers or resources. */
  restricted: boolean;
  scattered: boolean;
  /** Its user cancelled it, or something it stands on. */
  cancelled: boolean;
  /** Named by its key without its graph: it may not exist any more. */
  desired: boolean;
}

export class SimClient {
  readonly id: string;
  readonly state = new ClientState();
  /** The newest one. */
  link: Link;
  /** Of the scheduler whose numbers it has. */
  epoch = '';
  private readonly ledger = new Ledger();
  /** The scheduler hears it. */
  private welcomed = true;
  /** What its user holds: by number. */
  readonly known = new Map<number, Known>();
  alive = true;
  /** Readers that have not got their value yet. */
  readonly readers = new Set<Known>();
  private readonly cluster: Cluster;
  private readonly world: World;
  private readonly questions = new Map<number, (result: unknown) => void>();
  private nextQuestion = 1;

  constructor(cluster: Cluster, id: string) {
    this.cluster = cluster;
    this.world = cluster.world;
    this.id = id;
    this.link = this.dial();
    FUNCTIONS.forEach(({ name }, i) => {
      const blob = new Uint8Array(1);
      this.say({ op: 'register-function', fn: i + 1, hash: name, name, blob });
    });
  }

  private dial(): Link {
    const link: Link = new Link(this.world, this.cluster.plan.loss, {
      receive: messages => {
        if (this.link === link) this.receive(messages as SchedulerToClient[]);
      },
      closed: () => {
        if (this.link === link) this.closed();
      }
    });
    this.cluster.scheduler.openClient(this, link);
    link.send(0, [{ op: 'register-client' }]);
    return link;
  }

  /** Futures that its user has not let go of. */
  get held(): Known[] {
    return [...this.known.values()];
  }

  say(message: ClientToScheduler): void {
    if (!this.alive) return;
    this.world.note(this.id, `> ${describe(message)}`);
    this.ledger.note(message, this.welcomed);
    if (this.welcomed) this.link.send(0, [message]);
  }

  request(method: string, params: unknown, answer: (result: unknown) => void): void {
    // Without a link it waits for one.
    if (!this.welcomed) return this.world.timer(100, () => this.request(method, params, answer));
    const id = this.nextQuestion++;
    this.questions.set(id, answer);
    this.say({ op: 'request', id, method, params });
  }

  receive(messages: SchedulerToClient[]): void {
    for (const message of messages) {
      if (!this.alive) return;
      if (message.op === 'response') this.answered(message);
      else if (message.op === 'hello') this.greeted(message.epoch);
      else {
        if (message.op === 'cancelled-keys') this.ledger.unwant(message.cids);
        this.world.note(this.id, `< ${describe(message)}`);
        this.state.handle(message);
      }
    }
  }

  private answered({ id, result }: ResponseMessage): void {
    const answer = this.questions.get(id);
    this.questions.delete(id);
    answer?.(result);
  }

  /** A scheduler that may be another one: it hears again all that is wanted still. */
  private greeted(epoch: string): void {
    this.epoch = epoch;
    if (this.welcomed) return;
    this.welcomed = true;
    const outcome = (cid: number): Outcome => {
      const record = this.state.records.get(cid);
      const failed = record?.status === 'error';
      return { pending: record?.status === 'pending', error: failed ? record.error : null };
    };
    const messages = this.ledger.resume(outcome);
    this.world.note(this.id, `says again ${messages.length} messages`);
    this.link.send(0, messages);
  }

  private closed(): void {
    if (!this.alive) return;
    if (!this.cluster.plan.reconnects) return this.end('loses its scheduler');
    this.world.note(this.id, 'loses its scheduler');
    // Of data it had only just told of, the scheduler may know nothing but the number.
    this.cluster.lossy = true;
    this.welcomed = false;
    this.questions.clear();
    for (const one of this.readers) this.later(one);
    redialLater(
      this.cluster,
      () => this.alive,
      () => (this.link = this.dial())
    );
  }

  /** The process ends without a word. */
  vanish(): void {
    this.end('vanishes');
  }

  private end(how: string): void {
    if (!this.alive) return;
    this.world.note(this.id, how);
    this.alive = false;
    this.link.close(0, '');
    this.cluster.clientGone(this);
  }

  release(one: Known): void {
    this.known.delete(one.record.cid);
    this.readers.delete(one);
    this.state.release(one.record.cid);
  }

  // ---------------------------------------------------------------- reading values

  /** Brings the value of a future as soon as it is there, and compares it. */
  read(one: Known): void {
    if (this.readers.has(one)) return;
    this.readers.add(one);
    this.tryToRead(one);
  }

  private tryToRead(one: Known): void {
    if (!this.alive || !this.readers.has(one)) return;
    const { status, inline } = one.record;
    if (status === 'finished' && inline !== null) this.got(one, unpackValue(inline));
    else if (status === 'finished') this.locate(one);
    else if (status === 'pending') this.later(one);
    else this.readers.delete(one);
  }

  private later(one: Known): void {
    // A timer: whether the future ends is looked at elsewhere.
    this.world.timer(FETCH_RETRY_MS, () => this.tryToRead(one));
  }

  private locate(one: Known): void {
    this.request('locate', one.record.cid, result => {
      const { epoch, tid, holders } = result as { epoch: string; tid: number; holders: number[] };
      const holder = holders.length === 0 ? 0 : this.world.rng.pick(holders);
      const worker = this.cluster.worker(holder);
      this.world.after(this.world.soon(5), () => {
        const known = worker?.alive === true && worker.epoch === epoch;
        const reachable = known && !this.cluster.isCut(this.id, holder);
        const stored = reachable ? worker.store.peek(tid) : undefined;
        if (stored === undefined) this.later(one);
        else this.got(one, stored.value);
      });
    });
  }

  private got(one: Known, value: number): void {
    if (this.readers.delete(one)) this.cluster.checkValue(one, value);
  }
}
