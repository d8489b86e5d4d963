/**
 * One simulated run: four workers and two clients that submit random graphs, release, cancel,
 * retry, scatter and vanish, while messages are late and workers crash and come back. At the end
 * the faults stop, and the checkers look:
 *   every future that a living client still wants has ended, with the value its graph defines, or
 *   with the error that its graph (or enough crashes) explains; who-has equals the union of the
 *   workers' stores; when all is released, nothing is left anywhere.
 */
import { isEmpty } from '../../src/scheduler/state/validate.ts';
import type { TaskOptions } from '../../src/protocol/messages.ts';
import type { FutureRecord } from '../../src/client/state/client-state.ts';
import { encodeBehaviour, valueOf } from './program.ts';
import { World } from './world.ts';
import type { SimClient } from './world.ts';

const OPTIONS: TaskOptions = {
  priority: 0,
  retries: 0,
  timeout: 0,
  workers: null,
  allowOtherWorkers: false,
  resources: null
};

interface Known {
  record: FutureRecord;
  key: string;
  deps: Known[];
  /** Its own executions fail for good. */
  fails: boolean;
  scattered: boolean;
  cancelled: boolean;
}

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
    new Scenario(world).play();
  } catch (error) {
    failure = error as Error;
  }
  return { seed, events: world.events, hash: world.hash, log: world.log, failure };
}

class Scenario {
  private readonly world: World;
  private readonly known = new Map<SimClient, Known[]>();
  private keys = 0;

  constructor(world: World) {
    this.world = world;
  }

  play(): void {
    const { world } = this;
    const { rng } = world;
    for (let i = 0; i < 4; i++) world.startWorker(`w${i}`);
    for (let i = 0; i < 2; i++) this.known.set(this.newClient(`c${i}`), []);
    const steps = rng.integer(4, 14);
    for (let i = 0; i < steps; i++) world.after(rng.next() * 600, () => this.step());
    const crashes = rng.integer(0, 5);
    for (let i = 0; i < crashes; i++) world.after(rng.next() * 800, () => this.crashOne());
    this.ticks(30);
    world.run(world.now + 1000);
    world.faults = false;
    world.run(world.now + 20_000);
    this.checkFutures();
    this.checkStores();
    for (const client of this.known.keys()) this.releaseAll(client);
    world.run(world.now + 10_000);
    this.checkNothingLeft();
  }

  private ticks(left: number): void {
    if (left === 0) return;
    this.world.after(250, () => {
      this.world.apply({ type: 'tick' });
      this.ticks(left - 1);
    });
  }

  private newClient(id: string): SimClient {
    const client = this.world.startClient(id);
    this.world.say(client, {
      op: 'register-function',
      fn: 1,
      hash: 'f',
      name: 'f',
      blob: new Uint8Array(1)
    });
    return client;
  }

  private crashOne(): void {
    const { world } = this;
    const alive = world.workers.filter(worker => worker.alive);
    if (alive.length === 0) return;
    const worker = world.rng.pick(alive);
    world.crash(worker);
    world.after(world.rng.next() * 300, () => world.startWorker(worker.name));
  }

  /** One thing that a user does. */
  private step(): void {
    const { world } = this;
    const { rng } = world;
    const clients = [...this.known.keys()].filter(client => client.alive);
    if (clients.length === 0) return;
    const client = rng.pick(clients);
    const mine = (this.known.get(client) ?? []).filter(one => !one.cancelled);
    const dice = rng.next();
    if (dice < 0.5 || mine.length === 0) this.submit(client);
    else if (dice < 0.62) this.release(client, rng.pick(mine));
    else if (dice < 0.74) this.cancel(client, rng.pick(mine));
    else if (dice < 0.84) this.retry(client);
    else if (dice < 0.95) this.scatter(client);
    else if (clients.length > 1) {
      world.vanish(client);
      this.known.delete(client);
      this.known.set(this.newClient(`${client.id}'`), []);
    }
  }

  private submit(client: SimClient): void {
    const { rng } = this.world;
    const mine = this.known.get(client) ?? [];
    const graph: Known[] = [];
    const count = rng.chance(0.2) ? rng.integer(10, 30) : rng.integer(1, 8);
    const wide = rng.chance(0.4);
    for (let i = 0; i < count; i++) {
      const before = [
        ...mine.filter(one => !one.cancelled && one.record.status !== 'cancelled'),
        ...graph
      ];
      const deps = new Set<Known>();
      const want = wide ? 0 : rng.integer(0, Math.min(3, before.length));
      for (let d = 0; d < want; d++) deps.add(rng.pick(before));
      const key = `f-${client.id}-${this.keys++}`;
      const record = client.state.create(key, 'f', this.world.now);
      graph.push({
        record,
        key,
        deps: [...deps],
        fails: rng.chance(0.04),
        scattered: false,
        cancelled: false
      });
    }
    this.send(client, graph);
    mine.push(...graph);
  }

  private send(client: SimClient, graph: Known[]): void {
    const { rng } = this.world;
    const retries = rng.chance(0.3) ? 2 : 0;
    const args = graph.map(one => {
      const failures = one.fails
        ? Infinity
        : retries > 0 && rng.chance(0.3)
          ? rng.integer(1, 2)
          : 0;
      return encodeBehaviour({
        failures,
        duration: rng.chance(0.1) ? 200 : 10,
        nbytes: rng.integer(1, 2_000_000)
      });
    });
    const argOffsets = [0];
    for (const one of args) argOffsets.push((argOffsets.at(-1) ?? 0) + one.length);
    const depOffsets = [0];
    const deps: number[] = [];
    for (const one of graph) {
      deps.push(...one.deps.map(dep => dep.record.cid));
      depOffsets.push(deps.length);
    }
    this.world.say(client, {
      op: 'update-graph',
      first: (graph[0] as Known).record.cid,
      keys: graph.map(one => one.key),
      fn: 1,
      args: Buffer.concat(args),
      argOffsets,
      deps,
      depOffsets,
      options: { ...OPTIONS, retries, priority: rng.chance(0.1) ? 1 : 0 },
      fifoTimeout: 100,
      wants: 'all'
    });
  }

  private release(client: SimClient, one: Known): void {
    client.state.release(one.record.cid);
    this.world.say(client, { op: 'client-releases-keys', cids: [one.record.cid] });
    this.known.set(
      client,
      (this.known.get(client) ?? []).filter(other => other !== one)
    );
  }

  /** Cancelling takes all that stands on it along. */
  private cancel(client: SimClient, one: Known): void {
    const mine = this.known.get(client) ?? [];
    const gone = new Set([one]);
    for (const other of mine) if (find(other, one.key) !== null) gone.add(other);
    for (const other of gone) {
      other.cancelled = true;
      if (client.state.records.has(other.record.cid)) other.record.status = 'cancelled';
    }
    const force = this.world.rng.chance(0.4);
    this.world.say(client, { op: 'cancel-keys', cids: [one.record.cid], force, reason: 'test' });
  }

  private retry(client: SimClient): void {
    const failed = (this.known.get(client) ?? []).filter(
      one => one.record.status === 'error' && !one.cancelled
    );
    if (failed.length === 0) return;
    const one = this.world.rng.pick(failed);
    client.state.retry(one.record);
    this.world.say(client, { op: 'retry-keys', cids: [one.record.cid] });
  }

  private scatter(client: SimClient): void {
    const { world } = this;
    const plan = world.scheduler.planScatter(1, null);
    const tid = plan.tids[0];
    const worker = world.workers.find(other => other.id === plan.workers[0]?.id);
    if (tid === undefined || worker?.alive !== true || worker.state === null) return;
    const key = `d-${client.id}-${this.keys++}`;
    world.put(worker, tid, key, valueOf(key, []), 1000);
    const record = client.state.create(key, 'scatter', world.now);
    const message = {
      cids: [record.cid],
      keys: [key],
      tids: [tid],
      nbytes: [1000],
      types: ['number']
    };
    world.say(client, { op: 'scattered', ...message, workers: [[worker.id]] });
    this.known
      .get(client)
      ?.push({ record, key, deps: [], fails: false, scattered: true, cancelled: false });
  }

  private releaseAll(client: SimClient): void {
    const cids = (this.known.get(client) ?? []).map(one => one.record.cid);
    this.world.say(client, { op: 'client-releases-keys', cids });
    this.world.say(client, { op: 'release-functions', fns: [1] });
  }

  // ---------------------------------------------------------------- checkers

  private checkFutures(): void {
    for (const [client, mine] of this.known) {
      if (!client.alive) continue;
      for (const one of mine) if (!one.cancelled) this.checkFuture(one);
    }
  }

  private checkFuture(one: Known): void {
    const { status, error } = one.record;
    if (status === 'pending') {
      const story = this.world.scheduler.story.of(one.key).join('\n');
      throw new Error(`${one.key} never ended:\n${story}`);
    }
    if (status === 'error') return this.checkError(one, error?.code ?? '', error?.blame ?? '');
    if (status !== 'finished') throw new Error(`${one.key} is ${status}`);
    if (mustFail(one)) throw new Error(`${one.key} ended well and cannot have`);
    const task = this.world.scheduler.byKey.get(one.key);
    if (task === undefined) throw new Error(`${one.key} is finished and unknown to the scheduler`);
    const holder = this.world.workers.find(worker => worker.alive && worker.store.has(task.id));
    const value = holder?.store.get(task.id);
    if (value !== expected(one))
      throw new Error(`${one.key} is ${value}, expected ${expected(one)}`);
  }

  private checkError(one: Known, code: string, blame: string): void {
    const blamed = find(one, blame);
    if (code === 'CANCELLED') return;
    if (blamed === null)
      throw new Error(`${one.key} fails for ${blame}, which it does not stand on`);
    if (code === 'TASK_ERRED' && blamed.fails) return;
    if (code === 'LOST_DATA' && blamed.scattered && this.world.crashes > 0) return;
    if (code === 'KILLED_WORKER' && this.world.crashes > 3) return;
    // A retry was asked for after some of its tries: a flaky task can use up what it had.
    if (code === 'TASK_ERRED' && !blamed.scattered && blamed.record.status === 'error') return;
    throw new Error(`${one.key} fails with ${code} of ${blame} for no reason`);
  }

  private checkStores(): void {
    const { scheduler, workers } = this.world;
    for (const worker of workers) {
      if (!worker.alive) continue;
      const books = scheduler.workers.get(worker.id);
      if (books === undefined) throw new Error(`worker ${worker.id} lives and is unknown`);
      const said = [...books.hasWhat].map(task => task.id).sort((a, b) => a - b);
      const held = [...worker.store.keys()].sort((a, b) => a - b);
      if (said.join() !== held.join()) {
        throw new Error(
          `worker ${worker.id} holds ${held.join()}, the scheduler thinks ${said.join()}`
        );
      }
    }
  }

  private checkNothingLeft(): void {
    const { scheduler, workers } = this.world;
    if (!isEmpty(scheduler)) {
      const tasks = [...scheduler.tasks.values()].map(
        task => `${task.key} ${task.state} wants=${task.wants}`
      );
      throw new Error(
        `the scheduler keeps ${tasks.join(', ')} and ${scheduler.functions.size} functions`
      );
    }
    for (const worker of workers) {
      if (!worker.alive) continue;
      const tasks = [...(worker.state?.tasks.values() ?? [])].map(
        task => `${task.key} ${task.state}`
      );
      if (worker.store.size > 0 || tasks.length > 0) {
        throw new Error(
          `worker ${worker.id} keeps values ${[...worker.store.keys()].join()} and tasks ${tasks.join(', ')}`
        );
      }
    }
  }
}

function mustFail(one: Known): boolean {
  return one.fails || one.deps.some(mustFail);
}

function expected(one: Known): number {
  return valueOf(one.key, one.deps.map(expected));
}

function find(one: Known, key: string): Known | null {
  if (one.key === key) return one;
  for (const dep of one.deps) {
    const found = find(dep, key);
    if (found !== null) return found;
  }
  return null;
}
