/**
 * One simulated run from its seed: users and faults for a while, then the faults end and the world
 * comes to rest, then all is let go of. Checkers look after each part.
 */
import { ACTIVITIES } from './activities.ts';
import {
  allEnded,
  checkFutures,
  checkNothingLeft,
  checkStores,
  releaseAll,
  unpublishAll
} from './checkers.ts';
import { SimClient } from './client.ts';
import { Cluster } from './cluster.ts';
import { FAULTS } from './faults.ts';
import { choose, makePlan } from './plan.ts';
import { World } from './world.ts';

/** ms within which the world must come to rest once the faults have ended. */
const REST_MS = 30_000;
/** ms between looks. */
const LOOK_MS = 100;

export interface RunResult {
  seed: number;
  events: number;
  hash: number;
  log: string[] | null;
  failure: Error | null;
}

export function runSeed(seed: number, verbose = false): RunResult {
  const world = new World(seed, verbose);
  let failure: Error | null = null;
  try {
    play(world);
  } catch (error) {
    failure = error as Error;
  }
  return { seed, events: world.events, hash: world.hash, log: world.log, failure };
}

/** Who found a failure, by where it was thrown: a piece of a path, and a name. */
const CHECKERS: readonly (readonly [RegExp, string])[] = [
  [/scheduler\/state\/validate/, 'validate() of the scheduler'],
  [/worker\/state\/memory/, "validate() of a worker's memory"],
  [/worker\/state\/validate/, 'validate() of a worker'],
  [/sim\/ledger/, "books at the scheduler's door"],
  [/checkStores/, 'who-has is what workers hold'],
  [/checkNothingLeft/, 'nothing is left'],
  [/checkValue/, 'values'],
  [/sim\/checkers/, 'every future ends rightly'],
  [/sim\/world/, 'comes to rest'],
  [/sim\//, 'what a process can do'],
  [/src\//, 'the state throws']
];

/** The checker that threw. */
export function checkerOf(failure: Error): string {
  const frames = (failure.stack ?? '').split('\n').filter(line => /^ +at /.test(line));
  const where = frames.find(line => !/ (check|must|invalid) /.test(line)) ?? '';
  const own = frames.slice(0, 3).join();
  const found = CHECKERS.find(
    ([place]) => place.test(where) || (place.source.startsWith('check') && place.test(own))
  );
  return found?.[1] ?? 'an exception';
}

function play(world: World): void {
  const { rng } = world;
  const plan = makePlan(
    rng,
    [...ACTIVITIES, ...FAULTS].map(choice => choice.name)
  );
  const cluster = new Cluster(world, plan);
  cluster.onClientGone = () => world.after(world.soon(20), () => addClient(cluster));
  for (let i = 0; i < plan.clients; i++) addClient(cluster);
  for (let i = 0; i < plan.actions; i++) world.after(rng.next() * plan.span, () => act(cluster));
  for (let i = 0; i < plan.faults; i++) {
    world.after(rng.next() * plan.span, () => choose(rng, plan, FAULTS)?.run(cluster));
  }
  world.runUntil(world.now + plan.span);
  world.note('*', 'the faults end');
  cluster.heal();
  rest(cluster, () => allEnded(cluster));
  checkFutures(cluster);
  checkStores(cluster);
  world.note('*', 'all is let go of');
  cluster.onClientGone = () => undefined;
  unpublishAll(cluster);
  for (const client of cluster.clients) if (client.alive) releaseAll(client);
  rest(cluster, () => true);
  // Some may not have come to tell of what they put on workers.
  if (cluster.scheduler.state.promised.size > 0) {
    for (const client of cluster.clients) client.vanish();
    rest(cluster, () => true);
  }
  checkStores(cluster);
  checkNothingLeft(cluster);
}

function addClient(cluster: Cluster): void {
  cluster.clients.push(new SimClient(cluster, `c${cluster.clients.length + 1}`));
}

/** One thing that one user does. */
function act(cluster: Cluster): void {
  const { rng } = cluster.world;
  const clients = cluster.clients.filter(client => client.alive);
  if (clients.length === 0) return;
  const client = rng.pick(clients);
  choose(rng, cluster.plan, ACTIVITIES)?.run({ cluster, client });
}

/** Lets time pass until nothing is under way and `done`, or for long enough. */
function rest(cluster: Cluster, done: () => boolean): void {
  const { world } = cluster;
  const end = world.now + REST_MS;
  do world.runUntil(world.now + LOOK_MS);
  while (world.now < end && !(world.idle && done() && cluster.settled()));
}
