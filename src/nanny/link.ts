/**
 * The nanny's control link to its scheduler: registers, tells of exits and status, answers
 * requests. What is told before the link is open waits and goes first.
 *
 * The code of links is loaded apart (`loadComm`): a nanny first starts its children, and loads it
 * while they start.
 */
import { randomUUID } from 'node:crypto';
import { CommClosedError, ProtocolVersionError } from '../base/errors.ts';
import { packageVersion } from '../config/runtime.ts';
import type { answerRequest, RequestHandler } from '../comm/rpc.ts';
import type { Connection } from '../comm/connection.ts';
import type { dial } from '../comm/websocket.ts';
import { CLOSE, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
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
  /** The link was open and is not any more. */
  onLost: (reason: string) => void;
}

/** What a link needs of src/comm. */
interface CommModules {
  dial: typeof dial;
  answerRequest: typeof answerRequest;
}

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
  private early: (WorkerExited | NannyStatus)[] = [];
  private welcomed = false;
  private closed = false;
  private comm: Promise<CommModules> | null = null;

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
    const answer = (request: RequestMessage): void => {
      void answerRequest(request, this.options.handlers, response =>
        this.connection?.send(response)
      );
    };
    this.connection = await dial<NannyToScheduler, SchedulerToNanny>(
      { address, path: '/nanny', token: this.options.token },
      {
        onMessages: messages => {
          for (const message of messages) {
            if (message.op === 'hello') this.onHello(message, address, welcome, refuse);
            else answer(message);
          }
        },
        onClose: ({ code, reason }) => {
          const why = reason === '' ? `closed with code ${code}` : reason;
          refuse(new CommClosedError(`${address} closed the link: ${why}`));
          if (this.welcomed && !this.closed) this.options.onLost(why);
        }
      }
    );
    this.connection.send({
      op: 'register-nanny',
      protocol: PROTOCOL_VERSION,
      version: packageVersion(),
      ...this.options.registration
    });
    for (const message of this.early.splice(0)) this.connection.send(message);
    await hello;
  }

  tell(message: WorkerExited | NannyStatus): void {
    if (this.connection === null) this.early.push(message);
    else this.connection.send(message);
  }

  close(): void {
    this.closed = true;
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
}

/** A fresh id, `nanny-7f3a09c2`: unique among the nannies of one scheduler. */
export function createNannyId(): string {
  return `nanny-${randomUUID().slice(0, 8)}`;
}
