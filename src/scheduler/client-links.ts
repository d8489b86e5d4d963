/**
 * Links to clients. A client whose link broke may come back under its id: its futures wait for it
 * (state/recovery.ts); one that said goodbye takes them along.
 */
import type { Connection } from '../comm/connection.ts';
import { answerRequest } from '../comm/rpc.ts';
import type { Wire } from '../comm/wire.ts';
import { CLOSE, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type { ClientToScheduler, RegisterClient, SchedulerToClient } from '../protocol/messages.ts';
import { handshake } from './handshake.ts';
import { NEEDS_WORKERS, clientMethods } from './methods.ts';
import type { Scheduler } from './scheduler.ts';

/** Closes after which a client may come back: its link broke, or seemed to. */
const BROKEN: ReadonlySet<number> = new Set([1006, CLOSE.unresponsive]);

/** All clients that are connected, by id. */
export class ClientLinks {
  private readonly scheduler: Scheduler;
  private readonly links = new Map<string, Connection<SchedulerToClient>>();

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  /** Takes a wire of a client. */
  open(wire: Wire, peer: string): void {
    handshake<SchedulerToClient, ClientToScheduler, RegisterClient>(this.scheduler, wire, peer, {
      op: 'register-client',
      opened: (connection, first) => {
        this.register(connection, first);
        return {
          messages: this.receiver(connection, String(first.client)),
          closed: (reason, code) => this.closed(connection, first, reason, code)
        };
      },
      // A notebook whose cell computes answers no ping.
      alive: { silenceMs: Infinity }
    });
  }

  /** Says something to a client; to one that is away, nothing. */
  send(client: string, message: SchedulerToClient): void {
    this.links.get(client)?.send(message);
  }

  /** The scheduler ends. */
  close(reason: string): void {
    for (const client of this.links.values()) {
      client.send({ op: 'closing', reason });
      client.close(CLOSE.goingAway, reason);
    }
  }

  private register(connection: Connection<SchedulerToClient>, first: RegisterClient): void {
    const { scheduler } = this;
    const id = String(first.client);
    const { name, weight = 1 } = first;
    // First: it throws, and the link is closed, when the weight makes no sense.
    scheduler.apply({ type: 'add-client', client: id, name, weight });
    const before = this.links.get(id);
    this.links.set(id, connection);
    // It is back before its broken link was noticed here.
    before?.close(CLOSE.replaced, 'the client has connected anew');
    const warning = scheduler.versions.warningFor(connection);
    connection.send({
      op: 'hello',
      protocol: PROTOCOL_VERSION,
      cluster: scheduler.cluster,
      ...(warning === null ? {} : { warning }),
      epoch: scheduler.state.epoch
    });
    scheduler.log.info(`client ${name} connected`);
  }

  private receiver(
    connection: Connection<SchedulerToClient>,
    id: string
  ): (batch: ClientToScheduler[]) => void {
    const { scheduler } = this;
    const methods = clientMethods(scheduler, id);
    return batch => {
      for (const message of batch) {
        if (message.op !== 'request')
          scheduler.apply({ type: 'client-message', client: id, message });
        else {
          const answer = (): void =>
            void answerRequest(message, methods, response => connection.send(response));
          if (NEEDS_WORKERS.has(message.method)) scheduler.whenWhole(answer);
          else answer();
        }
      }
    };
  }

  private closed(
    connection: Connection<SchedulerToClient>,
    first: RegisterClient,
    reason: string,
    code: number
  ): void {
    const { scheduler } = this;
    const id = String(first.client);
    if (this.links.get(id) !== connection) return;
    this.links.delete(id);
    const lost = BROKEN.has(code);
    scheduler.apply({ type: lost ? 'client-lost' : 'remove-client', client: id });
    scheduler.log.info(`client ${first.name} ${lost ? 'is lost' : 'left'}: ${reason}`);
  }
}
