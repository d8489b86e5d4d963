/**
 * The graphs that simulated users submit: random ones on top of what they hold, maps with a
 * reduction, and shared ones that are the same for everybody, so that clients meet over one key and
 * submit again what was cancelled, released or has failed.
 */
import { Rng } from '../../src/base/rng.ts';
import type { TaskOptions } from '../../src/protocol/messages.ts';
import type { Known, SimClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import { NEVER, PLAIN, encodeBehaviour, hashText } from './program.ts';
import type { Behaviour } from './program.ts';

/** A task before it has a client's number. */
interface Draft {
  key: string;
  /** Earlier tasks of this graph, by position, and futures that the client holds. */
  inner: number[];
  outer: Known[];
}

/** Shared graphs that there are. */
const SHARED = 4;
/** ms that tasks of each function take; function numbers begin with 1. */
export const FUNCTIONS = [
  { name: 'quick', duration: 0.4 },
  { name: 'usual', duration: 12 },
  { name: 'long', duration: 150 }
];

export function submitRandom(cluster: Cluster, client: SimClient): void {
  const { rng } = cluster.world;
  const group = cluster.newName(client.id);
  const count = rng.integer(1, 8);
  const usable = client.held.filter(one => !one.cancelled && one.record.status !== 'cancelled');
  const drafts: Draft[] = [];
  for (let i = 0; i < count; i++) {
    const inner = new Set<number>();
    const outer = new Set<Known>();
    for (let d = rng.integer(0, 3); d > 0; d--) {
      if (i > 0 && rng.chance(0.6)) inner.add(rng.integer(0, i - 1));
      else if (usable.length > 0) outer.add(rng.pick(usable));
    }
    drafts.push({ key: `${group}d${inner.size}-${i}`, inner: [...inner], outer: [...outer] });
  }
  submit(cluster, client, drafts, randomOptions(cluster, rng), rng);
}

/** Many roots, and a tree or one task that takes them all in. */
export function submitMap(cluster: Cluster, client: SimClient): void {
  const { rng } = cluster.world;
  const group = cluster.newName(client.id);
  const count = rng.integer(6, 24);
  const drafts: Draft[] = [];
  for (let i = 0; i < count; i++) drafts.push({ key: `${group}m-${i}`, inner: [], outer: [] });
  let level = drafts.map((_, i) => i);
  const width = rng.integer(2, 8);
  for (let depth = 0; level.length > 1; depth++) {
    const next: number[] = [];
    for (let i = 0; i < level.length; i += width) {
      next.push(drafts.length);
      drafts.push({ key: `${group}r${depth}-${i}`, inner: level.slice(i, i + width), outer: [] });
    }
    level = next;
  }
  submit(cluster, client, drafts, randomOptions(cluster, rng), rng);
}

/** The same tasks under the same keys, whoever submits them and however often. */
export function submitShared(cluster: Cluster, client: SimClient): void {
  const number = cluster.world.rng.integer(1, SHARED);
  const rng = new Rng(number * 7919 + cluster.plan.span);
  const count = rng.integer(2, 7);
  const drafts: Draft[] = [];
  for (let i = 0; i < count; i++) {
    const inner = new Set<number>();
    for (let d = rng.integer(0, 2); d > 0 && i > 0; d--) inner.add(rng.integer(0, i - 1));
    drafts.push({ key: `s${number}-${i}`, inner: [...inner], outer: [] });
  }
  submit(cluster, client, drafts, randomOptions(cluster, rng), rng);
}

function randomOptions(cluster: Cluster, rng: Rng): TaskOptions {
  const options: TaskOptions = {
    priority: rng.pick([0, 0, 0, 1, -1]),
    retries: rng.chance(0.3) ? 2 : 0,
    timeout: rng.chance(0.1) ? 0.25 : 0,
    workers: null,
    allowOtherWorkers: false,
    resources: rng.chance(0.1) ? { gpu: 1 } : null
  };
  if (!rng.chance(0.15)) return options;
  const nanny = rng.integer(0, cluster.plan.nannies - 1);
  options.workers = [rng.chance(0.5) ? `n${nanny}` : `n${nanny}-${rng.integer(0, 2)}`];
  options.allowOtherWorkers = rng.chance(0.4);
  return options;
}

/** A task behaves as its key says, for all who submit it. */
function behaviourOf(key: string, retries: number, duration: number, span: number): Behaviour {
  const rng = new Rng(hashText(key, span));
  const odd = rng.next();
  const behaviour = {
    ...PLAIN,
    duration,
    nbytes: rng.pick([20, 200, 5000, 300_000, 1_500_000])
  };
  if (odd < 0.04) behaviour.failures = NEVER;
  else if (odd < 0.1) behaviour.failures = rng.integer(0, retries);
  else if (odd < 0.13) behaviour.secedes = true;
  else if (odd < 0.15) behaviour.reschedules = 1;
  else if (odd < 0.16) behaviour.exits = true;
  else if (odd < 0.17) behaviour.kills = rng.pick([1, 2, NEVER]);
  else if (odd < 0.2) behaviour.duration = 600;
  return behaviour;
}

function submit(
  cluster: Cluster,
  client: SimClient,
  drafts: readonly Draft[],
  options: TaskOptions,
  rng: Rng
): void {
  const fn = rng.integer(1, FUNCTIONS.length);
  const duration = FUNCTIONS[fn - 1]?.duration ?? 0;
  const graph: Known[] = [];
  for (const { key, inner, outer } of drafts) {
    graph.push({
      record: client.state.create(key, 'f', cluster.world.now),
      key,
      deps: [...inner.map(at => graph[at] as Known), ...outer],
      behaviour: behaviourOf(key, options.retries, duration, cluster.plan.span),
      retries: options.retries,
      timeout: options.timeout,
      restricted: options.workers !== null || options.resources !== null,
      scattered: false,
      cancelled: false,
      desired: false
    });
  }
  // Sometimes only the ends of the graph are wanted.
  const inner = new Set(drafts.flatMap(draft => draft.inner));
  const wanted = cluster.world.rng.chance(0.3) ? graph.filter((_, i) => !inner.has(i)) : graph;
  sendGraph(client, graph, wanted, fn, options);
  for (const one of graph) {
    if (wanted.includes(one)) client.known.set(one.record.cid, one);
    else client.state.release(one.record.cid);
  }
}

function sendGraph(
  client: SimClient,
  graph: readonly Known[],
  wanted: readonly Known[],
  fn: number,
  options: TaskOptions
): void {
  const args = graph.map(one => encodeBehaviour(one.behaviour));
  const argOffsets = [0];
  for (const one of args) argOffsets.push((argOffsets.at(-1) ?? 0) + one.length);
  const depOffsets = [0];
  const deps: number[] = [];
  for (const one of graph) {
    deps.push(...one.deps.map(dep => dep.record.cid));
    depOffsets.push(deps.length);
  }
  client.say({
    op: 'update-graph',
    first: (graph[0] as Known).record.cid,
    keys: graph.map(one => one.key),
    fn,
    args: Buffer.concat(args),
    argOffsets,
    deps,
    depOffsets,
    options,
    fifoTimeout: 100,
    wants: wanted.length === graph.length ? 'all' : wanted.map(one => one.record.cid)
  });
}
