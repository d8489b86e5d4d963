/**
 * All processes of one run, and what only the world knows of them: who can reach whom, what has
 * been tried, what was cancelled. Processes find each other here.
 */
import type { SimClient, Known } from './client.ts';
import { SimNanny } from './nanny.ts';
import type { Plan } from './plan.ts';
import { valueOf } from './program.ts';
import { SimScheduler } from './scheduler.ts';
import type { SimWorker } from './worker.ts';
import type { World } from './world.ts';

export class Cluster {
  readonly world: World;
  readonly plan: Plan;
  readonly identity = { id: 'sim', name: 'sim', kind: 'sim' };
  scheduler: SimScheduler;
  /** How many there have been. */
  schedulers = 0;
  /** Unasked ends of workers that a task was running on, by key. */
  readonly deaths = new Map<string, number>();
  readonly nannies: SimNanny[] = [];
  /** Every worker process that ever was. */
  readonly workers: SimWorker[] = [];
  readonly clients: SimClient[] = [];
  readonly tries = new Map<string, { throws: number; reschedules: number; kills: number }>();
  /** Keys that somebody cancelled for everybody. */
  readonly forced = new Set<string>();
  /** Values have been lost, or may have seemed so to somebody. */
  lossy = false;
  /** Clocks have jumped. */
  jumped = false;
  nextPid = 1;
  /** Called when a client has ended. */
  onClientGone: (client: SimClient) => void = () => undefined;
  private readonly numbers = new Map<number, SimWorker>();
  private names = 0;
  private readonly cuts = new Set<string>();

  constructor(world: World, plan: Plan) {
    this.world = world;
    this.plan = plan;
    this.lossy = plan.lies > 0 || plan.torn > 0 || plan.loss > 0;
    this.scheduler = new SimScheduler(this);
    for (let i = 0; i < plan.nannies; i++) {
      const nanny = new SimNanny(this, `n${i}`);
      this.nannies.push(nanny);
      nanny.tell({ type: 'scale', workers: plan.workers, close: [] });
    }
  }

  /** SIGKILL; its supervisor starts another in its place. */
  restartScheduler(): void {
    if (!this.scheduler.alive) return;
    this.world.note('S', 'dies');
    this.lossy = true;
    this.scheduler.crash();
    const workers = this.scheduler.state.workers.size;
    this.world.after(100 + this.world.soon(400), () => {
      this.numbers.clear();
      this.scheduler = new SimScheduler(this);
      this.scheduler.apply({ type: 'recover', workers, within: 1500 });
    });
  }

  get alive(): SimWorker[] {
    return this.workers.filter(worker => worker.alive);
  }

  worker(id: number): SimWorker | undefined {
    return this.numbers.get(id);
  }

  numbered(id: number, worker: SimWorker): void {
    this.numbers.set(id, worker);
  }

  workerReady(worker: SimWorker): void {
    this.nannies.find(nanny => nanny.name === worker.setup.nanny)?.ready(worker.setup.name);
  }

  clientGone(client: SimClient): void {
    this.onClientGone(client);
  }

  /** A name that no other task begins with. */
  newName(client: string): string {
    return `${client}x${++this.names}`;
  }

  /** Every worker that is wanted runs and is known, and none else is. */
  settled(): boolean {
    const wanted = this.nannies.reduce((sum, nanny) => sum + nanny.state.counts().target, 0);
    const { state } = this.scheduler;
    const known = [...state.clients.keys()];
    const clients = known.every(id => this.clients.some(one => one.id === id && one.alive));
    const back = !state.recovery.holding && state.recovery.client === null;
    return clients && back && this.alive.length === wanted && state.workers.size === wanted;
  }

  /** Nothing gets from one to the other, by worker number or client's name. */
  isCut(a: number | string, b: number | string): boolean {
    return this.cuts.size > 0 && this.cuts.has(`${a}-${b}`);
  }

  cut(a: number | string, b: number | string): void {
    this.lossy = true;
    this.cuts.add(`${a}-${b}`);
    this.cuts.add(`${b}-${a}`);
  }

  /** All networks, machines and peers are well from now on. */
  heal(): void {
    this.world.faulty = false;
    this.cuts.clear();
    this.plan.diskBytes = 0;
    this.plan.diskSlowness = 1;
    for (const worker of this.workers) {
      worker.slowness = 1;
      worker.setHog(0);
    }
    const running = this.nannies.map(nanny => nanny.state.counts().target);
    const [first] = this.nannies;
    if (running.every(target => target < 2)) first?.tell({ type: 'scale', workers: 2, close: [] });
  }

  /** Throws unless this is what the future's graph defines. */
  checkValue(one: Known, value: number): void {
    const right = expected(one);
    if (value === right) return;
    const inputs = one.deps.map(dep => `${dep.key} ${expected(dep)}`).join(', ');
    throw new Error(`${one.key} is ${value}, expected ${right} of inputs ${inputs}`);
  }
}

/** The value of a future, from its graph. */
export function expected(one: Known): number {
  return valueOf(one.key, one.deps.map(expected));
}

/** The future of this key among all that `one` stands on, itself included. */
export function find(one: Known, key: string): Known | null {
  if (one.key === key) return one;
  for (const dep of one.deps) {
    const found = find(dep, key);
    if (found !== null) return found;
  }
  return null;
}

export function anyOf(one: Known, test: (one: Known) => boolean): boolean {
  return test(one) || one.deps.some(dep => anyOf(dep, test));
}
