/**
 * What outlives the client that asked for it: tasks that were fired and forgotten, and published
 * datasets. Pseudo-clients want the keys; a dataset's structure is opaque bytes here.
 */
import { ProtocolError } from '../../base/errors.ts';
import { smallList } from '../../base/small-set.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { FireAndForget, PublishDataset } from '../../protocol/messages.ts';
import { bind, pseudoClient, removePseudoClient, unbind } from './clients.ts';
import type { ClientRecord } from './clients.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import { recommend } from './transitions.ts';

const FORGOTTEN = 'fire-and-forget';

export interface Dataset {
  readonly name: string;
  /** What the references in `value` stand for, in order. */
  readonly keys: readonly string[];
  readonly value: Uint8Array;
  /** Wants the keys. */
  readonly client: ClientRecord;
}

export function fireAndForget(
  state: SchedulerState,
  client: ClientRecord,
  message: FireAndForget
): void {
  for (const cid of message.cids) {
    const task = client.bindings.get(cid)?.task;
    if (task === undefined || task.state === 'memory' || task.state === 'erred') continue;
    const keeper = pseudoClient(state, FORGOTTEN);
    if (smallList(task.bindings).some(binding => binding.client === keeper)) continue;
    bind(keeper, keeper.takeCid(), task, true);
    if (task.state === 'released') recommend(state, task, 'waiting');
  }
}

/** A task has ended, well or not: nothing is wanted any more for its own sake. */
export function endForgotten(state: SchedulerState, task: Task): void {
  const keeper = state.pseudoClients.get(FORGOTTEN);
  if (keeper === undefined) return;
  for (const binding of smallList(task.bindings)) {
    if (binding.client !== keeper) continue;
    unbind(state, binding);
    state.endedForgotten?.push(task.key);
  }
  if (keeper.bindings.size === 0) state.pseudoClients.delete(FORGOTTEN);
}

/** A dataset with a key that the client does not have (any more) is not published. */
export function publishDataset(
  state: SchedulerState,
  client: ClientRecord,
  message: PublishDataset
): void {
  const { name, cids, value } = message;
  if (name.length > LIMITS.keyChars) throw new ProtocolError('The name of a dataset is too long.');
  if (value.length > LIMITS.functionBytes) throw new ProtocolError(`Dataset ${name} is too large.`);
  const tasks: Task[] = [];
  for (const cid of cids) {
    const task = client.bindings.get(cid)?.task;
    if (task === undefined) return;
    tasks.push(task);
  }
  const before = state.datasets.get(name);
  const id = `published-${name}`;
  // The new one first: a key in both must not be let go of in between.
  state.pseudoClients.delete(id);
  const keeper = pseudoClient(state, id);
  for (const task of tasks) {
    bind(keeper, keeper.takeCid(), task, true);
    if (task.state === 'released') recommend(state, task, 'waiting');
  }
  const keys = tasks.map(task => task.key);
  state.datasets.set(name, { name, keys, value, client: keeper });
  if (before !== undefined) {
    for (const binding of [...before.client.bindings.values()]) unbind(state, binding);
  }
}

export function unpublishDataset(state: SchedulerState, name: string): void {
  const dataset = state.datasets.get(name);
  if (dataset === undefined) return;
  state.datasets.delete(name);
  removePseudoClient(state, dataset.client);
}
