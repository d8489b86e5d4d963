/** Links to nannies: what they report, and whom to ask for more, fewer or other workers. */
import type { Connection } from '../comm/connection.ts';
import { Requester } from '../comm/rpc.ts';
import type { Wire } from '../comm/wire.ts';
import { PROTOCOL_VERSION } from '../protocol/limits.ts';
import type {
  NannyStatus,
  NannyToScheduler,
  RegisterNanny,
  SchedulerToNanny
} from '../protocol/messages.ts';
import { handshake } from './handshake.ts';
import type { Scheduler } from './scheduler.ts';

/** A nanny that is connected. */
export interface NannyLink {
  connection: Connection<SchedulerToNanny>;
  requester: Requester;
  register: RegisterNanny;
  status: NannyStatus | null;
}

/** Takes a wire of a nanny. */
export function openNanny(scheduler: Scheduler, wire: Wire, peer: string): void {
  const { nannies } = scheduler;
  handshake<SchedulerToNanny, NannyToScheduler, RegisterNanny>(scheduler, wire, peer, {
    op: 'register-nanny',
    opened: (connection, first) => {
      const requester = new Requester(message => connection.send(message));
      const link: NannyLink = { connection, requester, register: first, status: null };
      nannies.set(first.nanny, link);
      connection.send({ op: 'hello', protocol: PROTOCOL_VERSION, cluster: scheduler.cluster });
      return {
        messages: batch => {
          for (const message of batch) receive(scheduler, link, message);
        },
        closed: reason => {
          requester.fail(`Nanny ${first.nanny} is gone: ${reason}.`);
          if (nannies.get(first.nanny) === link) nannies.delete(first.nanny);
        }
      };
    }
  });
}

function receive(scheduler: Scheduler, link: NannyLink, message: NannyToScheduler): void {
  if (message.op === 'response') link.requester.answer(message);
  else if (message.op === 'nanny-status') link.status = message;
  else if (message.op === 'worker-exited') scheduler.exits.heard(message);
  else if (message.op === 'close-gracefully')
    void scheduler.scaling.leaveHost(link.register.nanny, message.reason, message.timeout);
}
