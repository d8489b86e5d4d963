/**
 * The worker's control link to its scheduler. When it breaks, rather than being closed for a reason,
 * the scheduler is dialled again with growing pauses: it may be on its way back at the same address,
 * or another in its place. The worker registers anew each time; what it says meanwhile is lost.
 */
import { AuthenticationError, CommClosedError, ProtocolVersionError } from '../base/errors.ts';
import type { CloseReason, Connection } from '../comm/connection.ts';
import { AwaitedHello, BROKEN, RECONNECT_MS, Redial } from '../comm/redial.ts';
import { versionError } from '../comm/refusal.ts';
import { dial } from '../comm/link.ts';
import { isGoneForGood } from '../config/connection-file.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  RegisterWorker,
  SchedulerToWorker,
  WorkerHello,
  WorkerToScheduler
} from '../protocol/messages.ts';

export interface SchedulerLinkOptions {
  address: string | Promise<string>;
  token: string;
  /** ms for which a lost scheduler is dialled again; 0 = not at all. Default 60,000. */
  reconnectMs?: number | undefined;
  /** What to say first; asked for each time. */
  registration(): RegisterWorker;
  /** Before all other messages of the link. */
  onHello(hello: WorkerHello): void;
  onMessages(messages: SchedulerToWorker[]): void;
  /** The link broke; it is being dialled again. */
  onLost(reason: string): void;
  /** It will not be open again. */
  onGone(reason: string): void;
}

export class SchedulerLink {
  private readonly options: SchedulerLinkOptions;
  /** Of the scheduler there is, or was last. */
  address = '';
  private clusterId = '';
  private connection: Connection<WorkerToScheduler> | null = null;
  private welcomed = false;
  private closed = false;
  private readonly redial: Redial;
  /** Why it was lost. */
  private why = '';

  constructor(options: SchedulerLinkOptions) {
    this.options = options;
    this.redial = new Redial({
      open: () => this.open(),
      givesUp: (error, late) => this.givesUp(error, late)
    });
  }

  /** Dials and registers; resolves when the scheduler has said hello. */
  async open(): Promise<void> {
    const { token } = this.options;
    const address = await this.options.address;
    this.address = address;
    const hello = new AwaitedHello();
    const late = `The scheduler at ${address} said no hello in ${LIMITS.handshakeMs / 1000} s.`;
    let mine: Connection<WorkerToScheduler> | null = null;
    const timer = hello.limit(late, () => mine?.close(CLOSE.handshakeTimeout, 'no hello in time'));
    try {
      mine = await dial<WorkerToScheduler, SchedulerToWorker>(
        { address, path: '/worker', token },
        {
          onMessages: messages => this.receive(messages, hello),
          onClose: reason => {
            hello.refuse(registrationError(address, reason));
            if (this.connection === mine) this.broke(reason);
          }
        }
      );
      if (this.closed) return mine.close(CLOSE.normal, 'the worker ends');
      this.connection = mine;
      mine.send(this.options.registration());
      await hello.said;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The scheduler has said hello. */
  get isOpen(): boolean {
    return this.welcomed;
  }

  /** Lost when there is no link. */
  send(message: WorkerToScheduler): void {
    if (this.welcomed) this.connection?.send(message);
  }

  close(reason: string): void {
    this.closed = true;
    this.redial.end();
    this.connection?.close(CLOSE.goingAway, reason);
  }

  private receive(messages: SchedulerToWorker[], hello: AwaitedHello): void {
    const [first] = messages;
    if (first?.op === 'hello') {
      messages.shift();
      if (first.protocol !== PROTOCOL_VERSION) {
        const peer = `The scheduler at ${this.address}`;
        return hello.refuse(new ProtocolVersionError(PROTOCOL_VERSION, first.protocol, peer));
      }
      this.welcomed = true;
      this.clusterId = first.cluster.id;
      this.options.onHello(first);
      hello.welcome();
    }
    if (messages.length > 0) this.options.onMessages(messages);
  }

  private broke({ code, reason }: CloseReason): void {
    const { address, welcomed } = this;
    this.welcomed = false;
    // Before its hello: whoever opens it is told.
    if (this.closed || !welcomed) return;
    const why =
      reason === ''
        ? `the scheduler at ${address} is gone (link closed with code ${code})`
        : `the scheduler closed the link: ${reason}`;
    const limit = this.options.reconnectMs ?? RECONNECT_MS;
    if (!BROKEN.has(code) || limit <= 0) return this.options.onGone(why);
    this.options.onLost(why);
    this.why = why;
    this.redial.start(limit);
  }

  private givesUp(error: unknown, late: boolean): boolean {
    if (this.closed) return true;
    this.welcomed = false;
    const final = error instanceof AuthenticationError || error instanceof ProtocolVersionError;
    const { why } = this;
    if (final) this.options.onGone(`${why}; ${error.message}`);
    else if (isGoneForGood(this.clusterId)) {
      this.options.onGone(`${why}, and so is what would restart it`);
    } else if (late) this.options.onGone(`${why} and did not come back in time`);
    else return false;
    return true;
  }
}

function registrationError(address: string, { code, reason }: CloseReason): Error {
  if (code === CLOSE.badVersion) {
    return versionError(`The scheduler at ${address}`, reason);
  }
  return new CommClosedError(
    `The scheduler at ${address} closed the link before it said hello: ${reason || `code ${code}`}.`
  );
}
