/**
 * The nanny's control link to its scheduler: registers, tells of exits and status, answers
 * requests. What is told while the link is not open waits and goes first when it is.
 *
 * A link that is lost, rather than closed with a reason, is dialled again with growing pauses: the
 * scheduler may be on its way back at the same address. One that closed in order, refuses the
 * token or speaks another protocol is not coming back for us.
 *
 * The code of links is loaded apart (`loadComm`): a nanny first starts its children, and loads it
 * while they start.
 */
import { randomUUID } from 'node:crypto';
import {
  AuthenticationError,
  CommClosedError,
  ProtocolVersionError,
  VersionMismatchError
} from '../base/errors.ts';
import { AwaitedHello, RECONNECT_MS, Redial } from '../comm/redial.ts';
import { versionError } from '../comm/refusal.ts';
import { ownVersions, packageVersion } from '../config/runtime.ts';
import type { answerRequest, RequestHandler } from '../comm/rpc.ts';
import type { CloseReason, Connection } from '../comm/connection.ts';
import type { dial } from '../comm/link.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  CloseGracefully,
  NannyHello,
  NannyStatus,
  NannyToScheduler,
  RegisterNanny,
  RequestMessage,
  SchedulerToNanny,
  WorkerExited
} from '../protocol/messages.ts';

export interface NannyLinkOptions {
  registration: Pick<RegisterNanny, 'nanny' | 'host' | 'pid' | 'canScale'>;
  token: string;
  handlers: ReadonlyMap<string, RequestHandler>;
  /** ms for which a lost scheduler is dialled again. Default 60 s. */
  redialLimitMs?: number;
  /** The link was open and is not any more; it is being dialled again. */
  onLost: (reason: string) => void;
  /** It is open again. */
  onBack: () => void;
  /** It will not be open again: the scheduler ended in order, or cannot be reached. */
  onGone: (reason: string) => void;
}

/** What a link needs of src/comm. */
interface CommModules {
  dial: typeof dial;
  answerRequest: typeof answerRequest;
}

/** Longest pause between redials, ms. */
const REDIAL_MOST_MS = 5000;
/** Exits that are kept for a scheduler that is away. */
const EXITS_KEPT = 1000;
/** Codes with which a scheduler says that it will not have us back. */
const FINAL: ReadonlySet<number> = new Set([
  CLOSE.normal,
  CLOSE.goingAway,
  CLOSE.badVersion,
  CLOSE.badHello
]);

/** Errors of a redial after which another makes no sense. */
const FATAL = [AuthenticationError, ProtocolVersionError, VersionMismatchError];

async function loadComm(): Promise<CommModules> {
  const [websocket, rpc] = await Promise.all([import('../comm/link.ts'), import('../comm/rpc.ts')]);
  return { dial: websocket.dial, answerRequest: rpc.answerRequest };
}

export class NannyLink {
  private readonly options: NannyLinkOptions;
  private connection: Connection<NannyToScheduler> | null = null;
  private exits: WorkerExited[] = [];
  private status: NannyStatus | null = null;
  private welcomed = false;
  private closed = false;
  private comm: Promise<CommModules> | null = null;
  private readonly redial: Redial;
  private address = '';

  constructor(options: NannyLinkOptions) {
    this.options = options;
    this.redial = new Redial({
      open: () => this.open(this.address),
      onBack: () => {
        if (!this.closed) options.onBack();
      },
      givesUp: (error, late) => this.givesUp(error, late),
      mostMs: REDIAL_MOST_MS
    });
  }

  /** The scheduler has said hello. */
  get isOpen(): boolean {
    return this.welcomed && this.connection?.isOpen === true;
  }

  /** Loads the code of links, so that `open` has it at hand. */
  prepare(): Promise<CommModules> {
    this.comm ??= loadComm();
    return this.comm;
  }

  /** Dials and registers; resolves when the scheduler has said hello. */
  async open(address: string): Promise<void> {
    this.address = address;
    const hello = new AwaitedHello();
    const { dial, answerRequest } = await this.prepare();
    let opened: Connection<NannyToScheduler> | null = null;
    const answer = (message: RequestMessage): void => {
      // Where the question came from, not to a link that was opened since.
      const asker = opened;
      void answerRequest(message, this.options.handlers, response => asker?.send(response));
    };
    const connection = await dial<NannyToScheduler, SchedulerToNanny>(
      { address, path: '/nanny', token: this.options.token },
      {
        onMessages: messages => {
          for (const message of messages) {
            if (message.op === 'hello') this.onHello(message, hello);
            else answer(message);
          }
        },
        onClose: reason => {
          hello.refuse(closedError(address, reason));
          this.onClose(reason);
        }
      }
    );
    if (this.closed) return connection.close(CLOSE.normal, 'the nanny ends');
    opened = connection;
    this.connection = connection;
    connection.send({
      op: 'register-nanny',
      protocol: PROTOCOL_VERSION,
      version: packageVersion(),
      versions: ownVersions(),
      ...this.options.registration
    });
    if (this.status !== null) connection.send(this.status);
    for (const exit of this.exits.splice(0)) connection.send(exit);
    const late = `${address} said no hello within ${LIMITS.handshakeMs / 1000} s.`;
    const timer = hello.limit(late, () => connection.close(CLOSE.handshakeTimeout, late));
    await hello.said.finally(() => clearTimeout(timer));
  }

  tell(message: WorkerExited | NannyStatus | CloseGracefully): void {
    if (message.op === 'nanny-status') this.status = message;
    if (this.connection?.isOpen === true) this.connection.send(message);
    else if (message.op === 'worker-exited') {
      this.exits.push(message);
      if (this.exits.length > EXITS_KEPT) this.exits.shift();
    }
  }

  close(): void {
    this.closed = true;
    this.redial.end();
    this.connection?.close(CLOSE.normal, 'the nanny ends');
  }

  private onHello(message: NannyHello, hello: AwaitedHello): void {
    if (message.protocol !== PROTOCOL_VERSION) {
      hello.refuse(new ProtocolVersionError(PROTOCOL_VERSION, message.protocol, this.address));
      return;
    }
    this.welcomed = true;
    hello.welcome();
  }

  private onClose({ code, reason }: CloseReason): void {
    if (!this.welcomed || this.closed) return;
    this.welcomed = false;
    const why = reason === '' ? `closed with code ${code}` : reason;
    if (FINAL.has(code)) return this.options.onGone(why);
    this.options.onLost(why);
    this.redial.start(this.limitMs);
  }

  /** ms for which a lost scheduler is dialled again. */
  private get limitMs(): number {
    return this.options.redialLimitMs ?? RECONNECT_MS;
  }

  private givesUp(error: unknown, late: boolean): boolean {
    if (this.closed) return true;
    const why = error instanceof Error ? error.message : String(error);
    if (FATAL.some(kind => error instanceof kind)) this.options.onGone(why);
    else if (late) {
      this.options.onGone(`it did not come back within ${this.limitMs / 1000} s. ${why}`);
    } else return false;
    return true;
  }
}

function closedError(address: string, { code, reason }: CloseReason): Error {
  if (code === CLOSE.badVersion) return versionError(`The scheduler at ${address}`, reason);
  const why = reason === '' ? `closed with code ${code}` : reason;
  return new CommClosedError(`${address} closed the link: ${why}`);
}

/** A fresh id, `nanny-7f3a09c2`: unique among the nannies of one scheduler. */
export function createNannyId(): string {
  return `nanny-${randomUUID().slice(0, 8)}`;
}
