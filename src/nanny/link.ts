/**
 * The nanny's control link to its scheduler: registers, tells of exits and status, answers
 * requests. What is told before the link is open waits and goes first.
 */
import { randomUUID } from 'node:crypto';
import { CommClosedError, ProtocolVersionError } from '../base/errors.ts';
import { packageVersion } from '../config/runtime.ts';
import { answerRequest } from '../comm/rpc.ts';
import type { RequestHandler } from '../comm/rpc.ts';
import type { Connection } from '../comm/connection.ts';
import { dial } from '../comm/websocket.ts';
import { CLOSE, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  NannyStatus,
  NannyToScheduler,
  RegisterNanny,
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

export class NannyLink {
  private readonly options: NannyLinkOptions;
  private connection: Connection<NannyToScheduler> | null = null;
  private early: (WorkerExited | NannyStatus)[] = [];
  private welcomed = false;
  private closed = false;

  constructor(options: NannyLinkOptions) {
    this.options = options;
  }

  /** The scheduler has said hello. */
  get isOpen(): boolean {
    return this.welcomed && this.connection?.isOpen === true;
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
    this.connection = await dial<NannyToScheduler, SchedulerToNanny>(
      { address, path: '/nanny', token: this.options.token },
      {
        onMessages: messages => {
          for (const message of messages) this.onMessage(message, address, welcome, refuse);
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

  private onMessage(
    message: SchedulerToNanny,
    address: string,
    welcome: () => void,
    refuse: (error: Error) => void
  ): void {
    if (message.op === 'hello') {
      if (message.protocol !== PROTOCOL_VERSION) {
        refuse(new ProtocolVersionError(PROTOCOL_VERSION, message.protocol, address));
        return;
      }
      this.welcomed = true;
      welcome();
    } else {
      void answerRequest(message, this.options.handlers, response =>
        this.connection?.send(response)
      );
    }
  }
}

/** A fresh id, `nanny-7f3a09c2`: unique among the nannies of one scheduler. */
export function createNannyId(): string {
  return `nanny-${randomUUID().slice(0, 8)}`;
}
