/** Clients as the scheduler sees them: the keys each one speaks of by number, and its functions. */
import { smallAdd, smallDelete } from '../../base/small-set.ts';
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
  lastSeen: number;

  constructor(id: string, name: string, now: number) {
    this.id = id;
    this.name = name;
    this.lastSeen = now;
  }
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
