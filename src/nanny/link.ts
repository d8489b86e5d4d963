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
  TimeoutError,
  VersionMismatchError
} from '../base/errors.ts';
import { versionError } from '../comm/refusal.ts';
import { ownVersions, packageVersion } from '../config/runtime.ts';
import type { answerRequest, RequestHandler } from '../comm/rpc.ts';
import type { CloseReason, Connection } from '../comm/connection.ts';
import type { dial } from '../comm/websocket.ts';
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

/** ms before the first redial; doubles up to the second. */
const REDIAL_MS = 100;
const REDIAL_MOST_MS = 5000;
const REDIAL_LIMIT_MS = 60_000;
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
  const [websocket, rpc] = await Promise.all([
    import('../comm/websocket.ts'),
    import('../comm/rpc.ts')
  ]);
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
  private redialTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(options: NannyLinkOptions) {
    this.options = options;
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
    let welcome: () => void = () => undefined;
    let refuse: (error: Error) => void = () => undefined;
    const hello = new Promise<void>((resolve, reject) => {
      welcome = resolve;
      refuse = reject;
    });
    // The dial may fail first: then nobody waits for the hello.
    hello.catch(() => undefined);
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
            if (message.op === 'hello') this.onHello(message, address, welcome, refuse);
            else answer(message);
          }
        },
        onClose: reason => {
          refuse(closedError(address, reason));
          this.onClose(address, reason);
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
    const timer = setTimeout(() => {
      refuse(new TimeoutError(late));
      connection.close(CLOSE.handshakeTimeout, late);
    }, LIMITS.handshakeMs);
    await hello.finally(() => clearTimeout(timer));
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
    if (this.redialTimer !== null) clearTimeout(this.redialTimer);
    this.connection?.close(CLOSE.normal, 'the nanny ends');
  }

  private onHello(
    hello: NannyHello,
    address: string,
    welcome: () => void,
    refuse: (error: Error) => void
  ): void {
    if (hello.protocol !== PROTOCOL_VERSION) {
      refuse(new ProtocolVersionError(PROTOCOL_VERSION, hello.protocol, address));
      return;
    }
    this.welcomed = true;
    welcome();
  }

  private onClose(address: string, { code, reason }: CloseReason): void {
    if (!this.welcomed || this.closed) return;
    this.welcomed = false;
    const why = reason === '' ? `closed with code ${code}` : reason;
    if (FINAL.has(code)) return this.options.onGone(why);
    this.options.onLost(why);
    const limit = this.options.redialLimitMs ?? REDIAL_LIMIT_MS;
    this.redialLater(address, REDIAL_MS, performance.now() + limit);
  }

  private redialLater(address: string, pauseMs: number, until: number): void {
    if (this.closed) return;
    this.redialTimer = setTimeout(() => void this.redial(address, pauseMs, until), pauseMs);
  }

  private async redial(address: string, pauseMs: number, until: number): Promise<void> {
    try {
      await this.open(address);
    } catch (error) {
      if (this.closed) return;
      const final = FATAL.some(kind => error instanceof kind);
      const why = error instanceof Error ? error.message : String(error);
      if (final) return this.options.onGone(why);
      if (performance.now() >= until) {
        const limit = (this.options.redialLimitMs ?? REDIAL_LIMIT_MS) / 1000;
        return this.options.onGone(`it did not come back within ${limit} s. ${why}`);
      }
      return this.redialLater(address, Math.min(REDIAL_MOST_MS, 2 * pauseMs), until);
    }
    if (!this.closed) this.options.onBack();
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
