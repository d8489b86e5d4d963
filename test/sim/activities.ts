/** What people do with a cluster; one thing at a time, at random moments. */
import type { Known, SimClient } from './client.ts';
import { anyOf, find } from './cluster.ts';
import type { Cluster } from './cluster.ts';
import { submitMap, submitRandom, submitShared } from './graphs.ts';
import type { Choice } from './plan.ts';
import { PLAIN, valueOf } from './program.ts';

/** Where a value shall go, and under which number. */
interface ScatterPlan {
  epoch: string;
  tid: number;
  workers: number[];
}

/** Bytes of a scattered value. */
const SCATTERED = 1000;

/** Names that datasets are published under. */
const DATASETS = ['x', 'y'];

type Activity = Choice<{ cluster: Cluster; client: SimClient }>;

function anyHeld({ cluster, client }: { cluster: Cluster; client: SimClient }): Known | null {
  const held = client.held.filter(one => !one.cancelled);
  return held.length === 0 ? null : cluster.world.rng.pick(held);
}

/** Cancelling takes all that stands on it along. */
function cancel(cluster: Cluster, client: SimClient, one: Known): void {
  const force = cluster.world.rng.chance(0.4);
  if (force) cluster.forced.add(one.key);
  for (const other of client.held) {
    if (find(other, one.key) === null) continue;
    other.cancelled = true;
    other.record.status = 'cancelled';
  }
  client.say({ op: 'cancel-keys', cids: [one.record.cid], force, reason: 'test' });
}

/** Asks where to, puts the value there (or everywhere), then tells the scheduler. */
function scatter(cluster: Cluster, client: SimClient): void {
  const { world } = cluster;
  const broadcast = world.rng.chance(0.3);
  client.request('scatter-plan', broadcast, result => {
    const plan = result as ScatterPlan;
    const { workers } = plan;
    const key = `${cluster.newName(client.id)}-0`;
    let left = workers.length;
    const took: number[] = [];
    for (const id of workers) {
      world.after(world.soon(5), () => {
        if (put(cluster, client, id, plan, key)) took.push(id);
        if (--left > 0 || took.length === 0) return;
        const whole = took.length === workers.length;
        world.after(world.soon(3), () => {
          if (client.alive) tellScattered(cluster, client, key, plan, took, whole);
        });
      });
    }
  });
}

function put(
  cluster: Cluster,
  client: SimClient,
  id: number,
  { epoch, tid }: ScatterPlan,
  key: string
): boolean {
  const worker = cluster.worker(id);
  if (!client.alive || worker === undefined || cluster.isCut(client.id, id)) return false;
  return worker.take(epoch, tid, key, valueOf(key, []), SCATTERED);
}

function tellScattered(
  cluster: Cluster,
  client: SimClient,
  key: string,
  { epoch, tid }: ScatterPlan,
  workers: number[],
  whole: boolean
): void {
  const record = client.state.create(key, 'scatter', cluster.world.now);
  const rest = { behaviour: PLAIN, retries: 0, timeout: 0, restricted: false };
  const flags = { scattered: true, cancelled: false, desired: false };
  if (whole) client.known.set(record.cid, { record, key, deps: [], ...rest, ...flags });
  const again = client.epoch !== epoch;
  // A scheduler in place of the one that gave the number knows the value by its name alone.
  if (again)
    client.say({ op: 'client-desires-keys', cids: [record.cid], keys: [key], again: 'data' });
  else
    client.say({
      op: 'scattered',
      cids: [record.cid],
      keys: [key],
      tids: [tid],
      nbytes: [SCATTERED],
      types: ['number'],
      workers: [workers]
    });
  if (whole) return;
  // Not all would take it: what some took is let go of.
  client.state.release(record.cid);
  client.say({ op: 'client-releases-keys', cids: [record.cid] });
}

/** Names a key that another client has made. */
function desire(cluster: Cluster, client: SimClient): void {
  const others = cluster.clients.filter(one => one !== client).flatMap(one => one.held);
  if (others.length === 0) return;
  const other = cluster.world.rng.pick(others);
  const record = client.state.create(other.key, 'f', cluster.world.now);
  client.known.set(record.cid, { ...other, record, cancelled: false, desired: true });
  client.say({ op: 'client-desires-keys', cids: [record.cid], keys: [other.key] });
}

/** Lets a task run on without its future, unless it may have to wait for ever. */
function fireAndForget(client: SimClient, one: Known): void {
  if (anyOf(one, part => part.restricted)) return;
  client.say({ op: 'fire-and-forget', cids: [one.record.cid] });
  client.release(one);
  client.say({ op: 'client-releases-keys', cids: [one.record.cid] });
}

/** Puts some futures under one of a few names, or takes a name back. */
function publish(cluster: Cluster, client: SimClient): void {
  const { rng } = cluster.world;
  const name = rng.pick(DATASETS);
  const held = client.held.filter(one => !one.cancelled);
  if (held.length === 0 || rng.chance(0.3)) return client.say({ op: 'unpublish-dataset', name });
  const some = new Set([rng.pick(held), rng.pick(held), rng.pick(held)]);
  const cids = [...some].map(one => one.record.cid);
  client.say({ op: 'publish-dataset', name, cids, value: new Uint8Array(1) });
}

function inMemory(cluster: Cluster, client: SimClient): number[] {
  const { byKey } = cluster.scheduler.state;
  const tasks = client.held.map(one => byKey.get(one.key));
  return tasks.flatMap(task => (task?.state === 'memory' ? [task.id] : []));
}

/** A worker leaves without losing anything: it is retired, then its nanny ends it. */
function retire(cluster: Cluster): void {
  const { rng } = cluster.world;
  const workers = cluster.alive.filter(worker => worker.id !== 0);
  if (workers.length < 2) return;
  const worker = rng.pick(workers);
  const { name } = worker.setup;
  cluster.world.note('*', `USER retires worker ${worker.id}`);
  const options = { timeout: rng.pick([50, 1000]), force: rng.chance(0.3) };
  cluster.scheduler.retire(worker.id, options, () => {
    const nanny = cluster.nannies.find(one => one.name === worker.setup.nanny);
    const target = nanny?.state.counts().target ?? 0;
    // Once the world is to come to rest, another takes its place.
    const workers = cluster.world.faulty ? Math.max(0, target - 1) : target;
    nanny?.tell({ type: 'scale', workers, close: [name] });
  });
}

function scale(cluster: Cluster): void {
  const { rng } = cluster.world;
  const nanny = rng.pick(cluster.nannies);
  const names = nanny.state.list().filter(slot => slot.wanted);
  const workers = rng.integer(0, 3);
  const close = rng.chance(0.5) && names.length > workers ? [rng.pick(names).name] : [];
  cluster.world.note('*', `USER scales ${nanny.name} to ${workers}`);
  nanny.tell({ type: 'scale', workers, close });
}

export const ACTIVITIES: readonly Activity[] = [
  { name: 'submit', weight: 5, run: ({ cluster, client }) => submitRandom(cluster, client) },
  { name: 'map', weight: 2, run: ({ cluster, client }) => submitMap(cluster, client) },
  { name: 'shared', weight: 4, run: ({ cluster, client }) => submitShared(cluster, client) },
  {
    name: 'release',
    weight: 3,
    run: subject => {
      const one = anyHeld(subject);
      if (one === null) return;
      subject.client.release(one);
      subject.client.say({ op: 'client-releases-keys', cids: [one.record.cid] });
    }
  },
  {
    name: 'cancel',
    weight: 2,
    run: subject => {
      const one = anyHeld(subject);
      if (one !== null) cancel(subject.cluster, subject.client, one);
    }
  },
  {
    name: 'retry',
    weight: 2,
    run: ({ cluster, client }) => {
      const failed = client.held.filter(one => one.record.status === 'error' && !one.cancelled);
      if (failed.length === 0) return;
      const one = cluster.world.rng.pick(failed);
      client.state.retry(one.record);
      client.say({ op: 'retry-keys', cids: [one.record.cid] });
    }
  },
  { name: 'scatter', weight: 1.5, run: ({ cluster, client }) => scatter(cluster, client) },
  { name: 'desire', weight: 1, run: ({ cluster, client }) => desire(cluster, client) },
  {
    name: 'read',
    weight: 3,
    run: subject => {
      const one = anyHeld(subject);
      if (one !== null) subject.client.read(one);
    }
  },
  {
    name: 'fire-and-forget',
    weight: 1,
    run: subject => {
      const one = anyHeld(subject);
      if (one !== null) fireAndForget(subject.client, one);
    }
  },
  { name: 'publish', weight: 1, run: ({ cluster, client }) => publish(cluster, client) },
  { name: 'scale', weight: 1, run: ({ cluster }) => scale(cluster) },
  { name: 'retire', weight: 1, run: ({ cluster }) => retire(cluster) },
  {
    name: 'replicate',
    weight: 1,
    run: ({ cluster, client }) => {
      const tasks = inMemory(cluster, client);
      if (tasks.length === 0) return;
      const count = cluster.world.rng.integer(1, 3);
      cluster.scheduler.apply({ type: 'replicate', tasks, count, workers: null });
    }
  },
  {
    name: 'rebalance',
    weight: 0.7,
    run: ({ cluster, client }) => {
      const tasks = cluster.world.rng.chance(0.5) ? null : inMemory(cluster, client);
      cluster.scheduler.apply({ type: 'rebalance', tasks, workers: null });
    }
  },
  {
    name: 'restart-workers',
    weight: 0.2,
    run: ({ cluster }) => {
      cluster.world.note('*', 'USER restarts the workers');
      for (const nanny of cluster.nannies) nanny.tell({ type: 'restart-workers', names: null });
    }
  },
  { name: 'vanish', weight: 0.7, run: ({ client }) => client.vanish() }
];
