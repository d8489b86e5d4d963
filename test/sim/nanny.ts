/**
 * A host: the real nanny state, and the worker processes that it starts, restarts and ends. What it
 * says of a worker's end reaches the scheduler on its own link, so before or after the scheduler
 * sees the worker's link close.
 */
import { NannyState } from '../../src/nanny/state/state.ts';
import type { NannyEvent, NannyInstruction } from '../../src/nanny/state/events.ts';
import type { Cluster } from './cluster.ts';
import { SimWorker } from './worker.ts';
import type { World } from './world.ts';

export class SimNanny {
  readonly name: string;
  readonly state: NannyState;
  private readonly cluster: Cluster;
  private readonly world: World;
  private readonly processes = new Map<string, SimWorker>();
  private wakeAt = Infinity;

  constructor(cluster: Cluster, name: string) {
    this.cluster = cluster;
    this.world = cluster.world;
    this.name = name;
    this.state = new NannyState({ namePrefix: `${name}-`, restartBudget: 1000, backoffMaxMs: 400 });
  }

  tell(event: NannyEvent): void {
    const name = 'name' in event ? ` ${event.name}` : '';
    if (event.type !== 'tick') this.world.note(this.name, `< ${event.type}${name}`);
    const instructions = this.state.handle(event, this.world.now);
    this.state.validate();
    for (const instruction of instructions) this.carryOut(instruction);
    const wake = this.state.nextWake;
    if (wake === null || wake >= this.wakeAt) return;
    this.wakeAt = wake;
    this.world.timer(Math.max(0, wake - this.world.now), () => {
      this.wakeAt = Infinity;
      this.tell({ type: 'tick' });
    });
  }

  private carryOut(instruction: NannyInstruction): void {
    switch (instruction.op) {
      case 'spawn':
        return this.world.after(this.world.soon(20), () => this.spawn(instruction.name));
      case 'ask': {
        const process = this.processes.get(instruction.name);
        return this.world.after(this.world.soon(5), () => process?.close(instruction.reason));
      }
      case 'signal':
        this.processes.get(instruction.name)?.crash();
        return;
      case 'worker-exited':
        return this.world.after(this.world.soon(30), () =>
          this.cluster.scheduler.workerExited(instruction)
        );
      case 'nanny-status':
      case 'log':
      case 'finished':
        return;
    }
  }

  private spawn(name: string): void {
    const { plan, world } = this.cluster;
    const pid = this.cluster.nextPid++;
    const worker: SimWorker = new SimWorker(
      this.cluster,
      {
        name,
        host: this.name,
        pid,
        nthreads: world.rng.integer(1, plan.threadsMost),
        memoryLimit: plan.memoryLimit,
        resources: world.rng.chance(0.5) ? { gpu: 1 } : {},
        nanny: this.name
      },
      said => this.ended(worker, said)
    );
    this.processes.set(name, worker);
    this.cluster.workers.push(worker);
  }

  private ended(worker: SimWorker, said: string | null): void {
    const ran = worker.executor.running();
    this.world.after(this.world.soon(3), () => {
      const { name, pid } = worker.setup;
      if (this.processes.get(name) === worker) this.processes.delete(name);
      const killed = said === null;
      const end = {
        pid,
        code: killed ? null : 0,
        signal: killed ? 'SIGKILL' : null,
        startError: null,
        said,
        kernelKilled: false,
        lastLines: [],
        executing: { tids: ran.map(task => task.tid), runIds: ran.map(task => task.runId) }
      };
      this.tell({ type: 'worker-exited', name, end });
    });
  }

  ready(name: string): void {
    this.tell({ type: 'worker-ready', name });
  }
}
