/**
 * A client's control link to its scheduler. When it breaks, rather than being closed for a reason, the
 * scheduler is dialled again with growing pauses: it may be on its way back at the same address, or
 * another in its place; another cluster is not taken for it. What is said meanwhile is lost here: the
 * session says it again (state/ledger.ts).
 */
import {
  AuthenticationError,
  ClusterError,
  CommClosedError,
  ProtocolVersionError
} from '../base/errors.ts';
import type { TaskloomError } from '../base/errors.ts';
import type { Connection } from '../comm/connection.ts';
import { AwaitedHello, BROKEN, RECONNECT_MS, REDIAL_MS, Redial } from '../comm/redial.ts';
import { versionError } from '../comm/refusal.ts';
import { dial } from '../comm/link.ts';
import { isGoneForGood, isSupervised } from '../config/connection-file.ts';
import { ownVersions, packageVersion } from '../config/runtime.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type { ClientHello, ClientToScheduler, SchedulerToClient } from '../protocol/messages.ts';

interface SchedulerLinkOptions {
  address: string;
  token: string;
  /** Id and name with which the client registers. */
  client: string;
  name: string;
  weight?: number | undefined;
  /** ms to connect in. */
  timeoutMs?: number | undefined;
  /** ms for which a lost scheduler is dialled again; 0 = not at all. */
  reconnectMs?: number | undefined;
  /** The scheduler, or another in its place (`again`), is there. */
  onHello(hello: ClientHello, again: boolean): void;
  onMessage(message: Exclude<SchedulerToClient, ClientHello>): void;
  /** The link broke; it is being dialled again. */
  onLost(reason: string): void;
  /** It will not be open again. */
  onGone(reason: string): void;
}

/** The link of one session, for as long as that lasts. */
export class SchedulerLink {
  private readonly options: SchedulerLinkOptions;
  private connection: Connection<ClientToScheduler> | null = null;
  /** The scheduler has said hello on this connection. */
  private welcomed = false;
  private closed = false;
  /** Its cluster is known to have ended: a connection that closes is not dialled again. */
  private given: string | null = null;
  /** The cluster that has said hello, or ''. */
  private clusterId = '';
  private readonly redial: Redial;
  private awake = false;
  /** Why it was lost. */
  private why = '';

  constructor(options: SchedulerLinkOptions) {
    this.options = options;
    this.redial = new Redial({
      open: () => this.connect(),
      onBack: () => this.connection?.keepsAlive(this.awake),
      givesUp: (error, late) => this.givesUp(error, late)
    });
    this.redial.keepsAlive(false);
  }

  /** Dials, registers and waits for the hello. A scheduler that is being started again is waited for. */
  async open(): Promise<void> {
    const { address, timeoutMs } = this.options;
    const until = performance.now() + (timeoutMs ?? LIMITS.handshakeMs);
    for (;;) {
      try {
        await this.connect();
        this.connection?.keepsAlive(false);
        return;
      } catch (error) {
        const again = error instanceof CommClosedError && isSupervised(address);
        if (!again || performance.now() > until) throw error;
        await new Promise(resolve => setTimeout(resolve, REDIAL_MS));
      }
    }
  }

  /** The scheduler has said hello. */
  get isOpen(): boolean {
    return this.welcomed;
  }

  /** Lost when there is no link. */
  send(message: ClientToScheduler): void {
    if (this.welcomed) this.connection?.send(message);
  }

  /** See Connection. */
  flush(): void {
    this.connection?.flush();
  }

  /** Whether the process stays up for it. */
  keepsAlive(keep: boolean): void {
    this.awake = keep;
    this.connection?.keepsAlive(keep);
    this.redial.keepsAlive(keep);
  }

  /** Its cluster has ended: the scheduler is not dialled any more. */
  giveUp(reason: string): void {
    this.given = reason;
    if (!this.welcomed) this.options.onGone(reason);
  }

  /** Says goodbye. */
  leave(): void {
    this.connection?.close(CLOSE.normal, 'the client closed');
  }

  /** Nothing is heard of it, nor dialled, any more. */
  end(): void {
    this.closed = true;
    this.welcomed = false;
    this.redial.end();
  }

  /** Dials and registers; resolves when the scheduler has said hello. */
  private async connect(): Promise<void> {
    const { address, token, timeoutMs, client, name, weight } = this.options;
    const hello = new AwaitedHello();
    let mine: Connection<ClientToScheduler> | null = null;
    mine = await dial<ClientToScheduler, SchedulerToClient>(
      { address, path: '/client', token, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
      {
        onMessages: messages => {
          for (const message of messages) {
            if (message.op === 'hello') {
              const wrong = this.welcome(message);
              if (wrong === null) hello.welcome();
              else hello.refuse(wrong);
            } else this.options.onMessage(message);
          }
        },
        onClose: ({ code, reason }) => {
          hello.refuse(helloError(address, code, reason));
          if (this.connection === mine) this.broke(code, reason);
        }
      }
    );
    if (this.closed) return mine.close(CLOSE.normal, 'the client closed');
    this.connection = mine;
    mine.send({
      op: 'register-client',
      protocol: PROTOCOL_VERSION,
      client,
      name,
      version: packageVersion(),
      versions: ownVersions(),
      ...(weight === undefined ? {} : { weight })
    });
    const late = `${address} said no hello within ${LIMITS.handshakeMs / 1000} s.`;
    const timer = hello.limit(late, () => mine.close(CLOSE.handshakeTimeout, late));
    await hello.said.finally(() => clearTimeout(timer));
  }

  /** Another scheduler in its place is welcome; another cluster is not. */
  private welcome(hello: ClientHello): Error | null {
    const { id, name } = hello.cluster;
    const again = this.clusterId !== '';
    if (again && id !== this.clusterId)
      return new ClusterError(`Another cluster (${name}) is at ${this.options.address} now.`);
    this.clusterId = id;
    this.welcomed = true;
    this.options.onHello(hello, again);
    return null;
  }

  private broke(code: number, reason: string): void {
    const { welcomed, options, given } = this;
    this.welcomed = false;
    if (this.closed) return;
    const why = reason === '' ? `the connection to ${options.address} was lost` : reason;
    const limit = options.reconnectMs ?? RECONNECT_MS;
    if (!BROKEN.has(code) || limit <= 0 || given !== null) return options.onGone(given ?? why);
    // A redial that breaks before its hello goes on by itself.
    if (!welcomed) return;
    options.onLost(why);
    this.why = why;
    this.redial.start(limit);
  }

  private givesUp(error: unknown, late: boolean): boolean {
    this.welcomed = false;
    const final =
      error instanceof AuthenticationError ||
      error instanceof ProtocolVersionError ||
      error instanceof ClusterError;
    const { why } = this;
    if (final) this.options.onGone(`${why}; ${error.message}`);
    else if (isGoneForGood(this.clusterId)) {
      this.options.onGone(`${why}; its processes have ended`);
    } else if (late) this.options.onGone(`${why}; it was not back in time (reconnectTimeout)`);
    else return false;
    return true;
  }
}

function helloError(address: string, code: number, reason: string): TaskloomError {
  if (code === CLOSE.badVersion) {
    return versionError(`The scheduler at ${address}`, reason);
  }
  return new CommClosedError(
    `${address} closed the connection: ${reason === '' ? `code ${code}` : reason}.`
  );
}
