/**
 * What must hold when the world is at rest: every future that a living client wants has ended, with
 * the value that its graph defines or an error with a reason; the scheduler's books say what the
 * workers hold; and, once all is let go of, nothing is left anywhere.
 */
import { isEmpty } from '../../src/scheduler/state/validate.ts';
import { anyOf, find } from './cluster.ts';
import type { Cluster } from './cluster.ts';
import type { Known, SimClient } from './client.ts';
import { NEVER, unpackValue } from './program.ts';

/** Every wanted future has ended, or may wait for ever. */
export function allEnded(cluster: Cluster): boolean {
  if (openDataset(cluster) !== null) return false;
  return cluster.clients.every(
    client =>
      !client.alive ||
      (client.readers.size === 0 &&
        client.held.every(one => one.record.status !== 'pending' || waitsRightly(cluster, one)))
  );
}

/** Memory and what may be spilled are full of values that somebody wants: that lasts. */
function isFull({ plan, alive }: Cluster): boolean {
  return plan.maxSpill > 0 && alive.some(worker => worker.state?.paused === true);
}

/** Nobody may run it or what it waits for: neither a worker that lives, nor after a time limit. */
function waitsRightly(cluster: Cluster, one: Known): boolean {
  const { state } = cluster.scheduler;
  if (isFull(cluster)) return true;
  if (state.options.noWorkersTimeout > 0) return false;
  return anyOf(one, part => {
    const task = state.byKey.get(part.key);
    return part.restricted && task?.state === 'no-worker';
  });
}

export function checkFutures(cluster: Cluster): void {
  for (const client of cluster.clients) {
    if (!client.alive) continue;
    for (const one of client.held) if (!one.cancelled) checkFuture(cluster, one);
    const [reader] = client.readers;
    const waits = reader !== undefined && reader.record.status !== 'pending';
    if (waits) throw new Error(`${client.id} cannot read ${reader.key}, which is finished`);
  }
}

function checkFuture(cluster: Cluster, one: Known): void {
  const { status, error } = one.record;
  switch (status) {
    case 'pending':
      if (waitsRightly(cluster, one)) return;
      throw new Error(
        `${one.key} never ended:\n${cluster.scheduler.state.story.of(one.key).join('\n')}`
      );
    case 'finished':
      return checkFinished(cluster, one);
    case 'error':
      return checkError(cluster, one, error?.code ?? '', error?.blame ?? '');
    case 'cancelled':
      if (one.desired || anyOf(one, part => cluster.forced.has(part.key))) return;
      throw new Error(`${one.key} is cancelled and nobody did that`);
    case 'lost':
      throw new Error(`${one.key} is lost and its client lives`);
  }
}

function checkFinished(cluster: Cluster, one: Known): void {
  if (anyOf(one, part => mustFail(cluster, part)))
    throw new Error(`${one.key} ended well and cannot have`);
  const task = cluster.scheduler.state.byKey.get(one.key);
  if (task === undefined) throw new Error(`${one.key} is finished and unknown to the scheduler`);
  const holder = cluster.alive.find(worker => worker.store.has(task.id));
  if (holder === undefined) {
    // A small result that came along outlives its holders.
    if (one.record.inline !== null) return cluster.checkValue(one, unpackValue(one.record.inline));
    throw new Error(`${one.key} is finished and nobody holds it`);
  }
  cluster.checkValue(one, holder.store.peek(task.id)?.value ?? -1);
}

/** It can have no value, however often it is tried. */
function mustFail(cluster: Cluster, { behaviour, timeout }: Known): boolean {
  if (behaviour.failures === NEVER || behaviour.exits || behaviour.kills === NEVER) return true;
  return timeout > 0 && !cluster.jumped && behaviour.duration * 0.5 > timeout * 1000;
}

function checkError(cluster: Cluster, one: Known, code: string, blame: string): void {
  const blamed = find(one, blame);
  if (blamed === null) throw new Error(`${one.key} fails for ${blame}, which it does not stand on`);
  if (!mayFail(cluster, blamed, code)) {
    throw new Error(`${one.key} fails with ${code} of ${blame} for no reason`);
  }
}

function mayFail(cluster: Cluster, one: Known, code: string): boolean {
  const { behaviour, retries, timeout } = one;
  const { options } = cluster.scheduler.state;
  switch (code) {
    case 'TASK_ERRED':
      // An execution that passed its time limit used up a retry, too.
      return behaviour.failures > (timeout > 0 ? 0 : retries);
    case 'EXECUTOR_DIED':
      return behaviour.exits;
    case 'TASK_TIMEOUT':
      return timeout > 0;
    case 'KILLED_WORKER':
      return (cluster.deaths.get(one.key) ?? 0) > options.allowedFailures;
    case 'LOST_DATA':
      return (one.scattered || one.desired) && cluster.lossy;
    case 'NO_VALID_WORKER':
      return options.noWorkersTimeout > 0;
    case 'WORKER_MEMORY': {
      const bytes = one.deps.reduce((sum, dep) => sum + dep.behaviour.nbytes, 0);
      return cluster.plan.memoryLimit > 0 && bytes > cluster.plan.memoryLimit;
    }
    case 'CANCELLED':
      return anyOf(one, part => cluster.forced.has(part.key) || part.desired);
    default:
      return false;
  }
}

/** What the scheduler thinks that each worker holds is what it holds. */
export function checkStores(cluster: Cluster): void {
  for (const worker of cluster.alive) {
    const books = cluster.scheduler.state.workers.get(worker.id);
    if (books === undefined) throw new Error(`worker ${worker.id} lives and is unknown`);
    const said = sorted([...books.hasWhat].map(task => task.id));
    // Of what a client has not told of yet, the scheduler knows that it is there, and no more.
    const { promised } = cluster.scheduler.state;
    const tids = worker.store.tids().filter(tid => !promised.has(tid));
    const held = sorted(tids);
    if (said !== held) {
      throw new Error(`worker ${worker.id} holds ${held}, the scheduler thinks ${said}`);
    }
    let nbytes = 0;
    for (const tid of tids) nbytes += worker.store.peek(tid)?.nbytes ?? 0;
    if (nbytes !== books.nbytes) {
      throw new Error(`worker ${worker.id} holds ${nbytes} bytes, the books say ${books.nbytes}`);
    }
  }
  for (const [id] of cluster.scheduler.state.workers) {
    if (cluster.worker(id)?.alive !== true)
      throw new Error(`worker ${id} is gone and in the books`);
  }
}

function sorted(tids: number[]): string {
  return tids.sort((a, b) => a - b).join();
}

export function releaseAll(client: SimClient): void {
  const cids = [...client.known.keys()];
  for (const one of client.held) client.release(one);
  client.say({ op: 'client-releases-keys', cids });
  client.say({ op: 'release-functions', fns: [1, 2, 3] });
}

/** A task that is kept under a name and has not ended, though it could; or null. */
function openDataset(cluster: Cluster): string | null {
  if (isFull(cluster)) return null;
  for (const { name, client } of cluster.scheduler.state.datasets.values()) {
    for (const { task } of client.bindings.values()) {
      const ended = task.state === 'memory' || task.state === 'erred' || task.state === 'no-worker';
      const waits = task.deps.some(dep => dep.state === 'no-worker' || dep.state === 'waiting');
      if (!ended && !waits) return `${task.key} of dataset ${name} is ${task.state}`;
    }
  }
  return null;
}

/** What is kept under names must have ended, too; then the names are taken back. */
export function unpublishAll(cluster: Cluster): void {
  const { state } = cluster.scheduler;
  const open = openDataset(cluster);
  if (open !== null) throw new Error(open);
  for (const name of [...state.datasets.keys()]) {
    const client = cluster.clients.find(one => one.alive);
    client?.say({ op: 'unpublish-dataset', name });
  }
}

export function checkNothingLeft(cluster: Cluster): void {
  const { state } = cluster.scheduler;
  if (!isEmpty(state) || state.groups.size > 0) {
    const tasks = [...state.tasks.values()].map(task => `${task.key} ${task.state}`);
    const rest = `${state.functions.size} functions, ${state.groups.size} groups`;
    throw new Error(`the scheduler keeps ${tasks.join(', ')}, ${rest}`);
  }
  for (const worker of cluster.alive) {
    const tasks = [...(worker.state?.tasks.values() ?? [])].map(
      task => `${task.key} ${task.state}`
    );
    const left =
      worker.executor.handed().length +
      Object.values(worker.state?.counts ?? {}).reduce((a, b) => a + b, 0);
    if (worker.store.size + worker.store.disk.size > 0 || tasks.length > 0 || left > 0) {
      const values = `values ${worker.store.tids().join()}, ${worker.store.disk.size} files`;
      throw new Error(`worker ${worker.id} keeps ${values} and tasks ${tasks.join(', ')}`);
    }
  }
}
