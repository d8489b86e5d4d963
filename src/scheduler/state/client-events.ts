/** Events of clients: what they submit, want, let go of, cancel and ask to try again. */
import { ProtocolError } from '../../base/errors.ts';
import { smallList } from '../../base/small-set.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type {
  CancelKeys,
  ClientDesiresKeys,
  ClientToScheduler,
  Language,
  RegisterFunction
} from '../../protocol/messages.ts';
import { bind, tellState, unbind } from './clients.ts';
import type { ClientRecord } from './clients.ts';
import { updateGraph } from './graph.ts';
import { fireAndForget, publishDataset, unpublishDataset } from './lasting.ts';
import { abandonReturn, awaitKey, giveUpAwaited, rebind, releaseRecovered } from './recovery.ts';
import { dropPromised, scattered } from './scatter.ts';
import type { SchedulerState } from './state.ts';
import type { Task } from './tasks.ts';
import { letGo, recommend } from './transitions.ts';

/** Its link broke: what it wants stays while it may come back. */
export function loseClient(state: SchedulerState, id: string, grace: number): void {
  const client = state.clients.get(id);
  if (client !== undefined) client.away = state.now + grace;
}

/** What a client spoke of when a snapshot was made of its scheduler. */
export function restoreBindings(
  state: SchedulerState,
  id: string,
  cids: readonly number[],
  keys: readonly string[],
  wanted: readonly boolean[]
): void {
  const client = state.clients.get(id);
  cids.forEach((cid, i) => {
    const task = state.byKey.get(keys[i] ?? '');
    if (client !== undefined && task !== undefined) bind(client, cid, task, wanted[i] === true);
  });
}

export function removeClient(state: SchedulerState, id: string): void {
  const client = state.clients.get(id);
  if (client === undefined) return;
  state.clients.delete(id);
  state.outbox.dropClient(client);
  abandonReturn(state, client);
  for (const binding of [...client.bindings.values()].reverse()) unbind(state, binding);
  for (const fn of client.functions.values()) state.releaseFunction(fn);
  client.functions.clear();
  dropPromised(state, id);
}

export function clientMessage(
  state: SchedulerState,
  client: ClientRecord,
  message: ClientToScheduler
): void {
  client.lastSeen = state.now;
  switch (message.op) {
    case 'register-function': {
      if (message.blob.length > LIMITS.functionBytes)
        throw new ProtocolError('A function is too large.');
      const fn = state.functionOf(message.hash, message.name, message.blob, languageOf(message));
      fn.users++;
      const before = client.functions.get(message.fn);
      client.functions.set(message.fn, fn);
      client.returning?.functions.delete(message.fn);
      if (before !== undefined) state.releaseFunction(before);
      return;
    }
    case 'release-functions':
      for (const number of message.fns) {
        const fn = client.functions.get(number);
        client.functions.delete(number);
        if (fn !== undefined) state.releaseFunction(fn);
      }
      return;
    case 'update-graph':
      return updateGraph(state, client, message);
    case 'client-desires-keys':
      return desireKeys(state, client, message);
    case 'client-releases-keys':
      for (const cid of message.cids) {
        const binding = client.bindings.get(cid);
        if (binding !== undefined) unbind(state, binding);
      }
      return;
    case 'cancel-keys':
      return cancelKeys(state, client, message);
    case 'retry-keys':
      for (const cid of message.cids) retry(state, client.bindings.get(cid)?.task ?? null);
      return;
    case 'scattered':
      return scattered(state, client, message);
    case 'fire-and-forget':
      return fireAndForget(state, client, message);
    case 'publish-dataset':
      return publishDataset(state, client, message);
    case 'unpublish-dataset':
      return unpublishDataset(state, message.name);
    case 'register-client':
    case 'heartbeat-client':
    case 'request':
      return;
  }
}

function languageOf({ language = 'javascript', name }: RegisterFunction): Language {
  if (language === 'javascript' || language === 'python') return language;
  throw new ProtocolError(
    `Function ${name} is in ${JSON.stringify(language)}: known are javascript and python.`
  );
}

function desireKeys(state: SchedulerState, client: ClientRecord, message: ClientDesiresKeys): void {
  message.cids.forEach((cid, i) => {
    const key = message.keys[i] ?? '';
    const task = state.byKey.get(key);
    if (message.again !== undefined) {
      const wanted = task ?? awaitKey(state, key, message.again === 'others');
      rebind(state, client, cid, wanted, true, false);
      releaseRecovered(state, wanted);
      return;
    }
    if (task === undefined) {
      state.outbox.cancelled(client, cid, `no task or data named ${key} is known to this cluster`);
      return;
    }
    bind(client, cid, task, true);
    tellState(state, client, cid, task);
    releaseRecovered(state, task);
    if (task.state === 'released') recommend(state, task, 'waiting');
  });
  giveUpAwaited(state);
}

function cancelKeys(state: SchedulerState, client: ClientRecord, message: CancelKeys): void {
  const stack: Task[] = [];
  for (const cid of message.cids) {
    const binding = client.bindings.get(cid);
    if (binding !== undefined) stack.push(binding.task);
  }
  for (const key of message.keys ?? []) {
    const task = state.byKey.get(key);
    if (task !== undefined) stack.push(task);
  }
  const seen = new Set(stack);
  while (stack.length > 0) {
    const task = stack.pop() as Task;
    for (const dependent of smallList(task.dependents)) {
      if (!seen.has(dependent)) stack.push(dependent);
      seen.add(dependent);
    }
  }
  for (const task of seen) {
    if (message.force && task.state === 'processing') state.killOnRelease.add(task);
    for (const binding of smallList(task.bindings)) {
      if (!binding.wanted || (binding.client !== client && !message.force)) continue;
      state.outbox.cancelled(binding.client, binding.cid, message.reason);
      unbind(state, binding);
    }
    if (!task.needed) letGo(state, task);
  }
}

/** Runs the failed roots again that a failed task stands on; each task is looked at once. */
function retry(state: SchedulerState, task: Task | null): void {
  if (task?.state !== 'erred') return;
  const stack = [task];
  const seen = new Set(stack);
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    next.suspicious = 0;
    const failed = next.deps.filter(dep => dep.state === 'erred');
    if (failed.length === 0) recommend(state, next, 'waiting');
    for (const dep of failed) {
      if (!seen.has(dep)) stack.push(dep);
      seen.add(dep);
    }
  }
}
