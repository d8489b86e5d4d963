/**
 * Clients as the scheduler sees them: the keys each one speaks of by number, and its functions.
 *
 * A pseudo-client stands for a wish that no connected client holds: tasks that were fired and
 * forgotten, a published dataset. It wants keys as any client does, and is never told anything.
 */
import { ProtocolError } from '../../base/errors.ts';
import { Share } from '../../base/fair.ts';
import { smallAdd, smallDelete } from '../../base/small-set.ts';
import { startReturn } from './recovery.ts';
import type { Return } from './recovery.ts';
import type { SchedulerState } from './state.ts';
import type { FunctionRecord, Task } from './tasks.ts';
import { letGo } from './transitions.ts';

/** A client's number for a task. `wanted`: the client holds a future for it. */
export interface Binding {
  readonly client: ClientRecord;
  readonly cid: number;
  readonly task: Task;
  wanted: boolean;
}

export class ClientRecord {
  readonly id: string;
  readonly name: string;
  readonly bindings = new Map<number, Binding>();
  readonly functions = new Map<number, FunctionRecord>();
  /** Nobody is connected under this record: nothing is sent to it. */
  readonly pseudo: boolean;
  /** Its part in the workers. */
  readonly share: Share;
  /** Rises with every submission that comes later than the one before by its fifo timeout. */
  generation = 0;
  lastGraphAt = -Infinity;
  lastSeen: number;
  /** Its link broke: when it is given up, ms since the epoch; null = it is here. */
  away: number | null = null;
  /** While it says again what it wants. */
  returning: Return | null = null;
  private nextCid = 1;

  constructor(id: string, name: string, now: number, share: Share, pseudo = false) {
    this.id = id;
    this.name = name;
    this.lastSeen = now;
    this.share = share;
    this.pseudo = pseudo;
  }

  /** A number for a key that a pseudo-client comes to want. */
  takeCid(): number {
    return this.nextCid++;
  }
}

/** The largest weight a client may ask for. */
const MOST_WEIGHT = 1000;

export function addClient(state: SchedulerState, id: string, name: string, weight: number): void {
  if (!(weight > 0 && weight <= MOST_WEIGHT)) {
    throw new ProtocolError(
      `The weight of a client must be above 0 and at most ${MOST_WEIGHT}, not ${weight}.`
    );
  }
  const known = state.clients.get(id);
  if (known !== undefined) return startReturn(known);
  const share = new Share(state.takeOwnerId(), weight);
  state.clients.set(id, new ClientRecord(id, name, state.now, share));
}

/** The pseudo-client of this id, made when there is none. */
export function pseudoClient(state: SchedulerState, id: string): ClientRecord {
  let client = state.pseudoClients.get(id);
  if (client === undefined) {
    client = new ClientRecord(id, id, state.now, new Share(0), true);
    state.pseudoClients.set(id, client);
  }
  return client;
}

/** It wants nothing any more. */
export function removePseudoClient(state: SchedulerState, client: ClientRecord): void {
  state.pseudoClients.delete(client.id);
  for (const binding of [...client.bindings.values()].reverse()) unbind(state, binding);
}

/** `cid` is from now on this client's number for the task. */
export function bind(client: ClientRecord, cid: number, task: Task, wanted: boolean): void {
  const binding: Binding = { client, cid, task, wanted };
  client.bindings.set(cid, binding);
  task.bindings = smallAdd(task.bindings, binding);
  if (wanted) task.wants++;
}

/** The client speaks of it no more. */
export function unbind(state: SchedulerState, binding: Binding): void {
  const task = binding.task;
  binding.client.bindings.delete(binding.cid);
  task.bindings = smallDelete(task.bindings, binding);
  if (!binding.wanted) return;
  binding.wanted = false;
  task.wants--;
  if (!task.needed) letGo(state, task);
}

/** A client that comes to want a task which is finished already learns so at once. */
export function tellState(
  state: SchedulerState,
  client: ClientRecord,
  cid: number,
  task: Task
): void {
  if (task.state === 'memory') state.outbox.inMemory(client, cid, task);
  else if (task.state === 'erred' && task.error !== null)
    state.outbox.erred(client, cid, task.error);
}
