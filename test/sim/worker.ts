/**
 * A worker's process around the real worker state, as src/worker/worker.ts and gatherer.ts are: one
 * event at a time, a store that is there before the event that speaks of it, one request a peer, a
 * late answer of a peer that was struck off ignored. A worker that loses its scheduler ends.
 */
import { comparePriority } from '../../src/worker/state/tasks.ts';
import { WorkerState } from '../../src/worker/state/state.ts';
import type { Instruction, WorkerEvent, WorkerTask } from '../../src/worker/state/state.ts';
import type {
  RegisterWorker,
  SchedulerToWorker,
  WorkerHello,
  WorkerToScheduler
} from '../../src/protocol/messages.ts';
import type { PutData } from '../../src/worker/state/events.ts';
import type { Cluster } from './cluster.ts';
import { SimExecutor } from './executor.ts';
import type { ExecutorHost } from './executor.ts';
import { Link, redialLater } from './link.ts';
import { describe } from './messages.ts';
import { SimStore } from './store.ts';
import type { Stored } from './store.ts';
import type { World } from './world.ts';

const TICK_MS = 250;
/** ms between readings of the process's memory. */
const READING_MS = 100;
/** Answers to peers under way at once. */
const MOST_ANSWERS = 10;
/** Bytes a ms between workers. */
const BANDWIDTH = 100_000;

/** What a worker is started with. */
export interface WorkerSetup {
  name: string;
  host: string;
  pid: number;
  nthreads: number;
  memoryLimit: number;
  resources: Record<string, number>;
  nanny: string;
}

/** Values by number, as they are announced to the next scheduler. */
type Held = Pick<RegisterWorker, 'epoch' | 'tids' | 'keys' | 'nbytes' | 'types' | 'running'>;

export class SimWorker implements ExecutorHost {
  readonly cluster: Cluster;
  readonly world: World;
  readonly setup: WorkerSetup;
  /** The newest one. */
  link: Link;
  /** Its number, from the hello on. */
  id = 0;
  alive = true;
  state: WorkerState | null = null;
  store: SimStore;
  /** Of the scheduler whose numbers it speaks. */
  epoch = '';
  /** Bytes that its process uses beside values. */
  hog = 0;
  executor: SimExecutor;
  private held: Held | null = null;
  slowness = 1;
  /** Its clock is so many ms ahead of the world's. */
  skew = 0;
  private readonly asked = new Map<number, object>();
  private readonly peers = new Map<number, SimWorker>();
  private answering = 0;
  private events: WorkerEvent[] = [];
  private handling = false;
  private outgoing: WorkerToScheduler[] = [];
  private readonly onEnd: (said: string | null) => void;

  /** `onEnd` is told of the process's end: the reason it gave, or null when it was killed. */
  constructor(cluster: Cluster, setup: WorkerSetup, onEnd: (said: string | null) => void) {
    this.cluster = cluster;
    this.world = cluster.world;
    this.setup = setup;
    this.onEnd = onEnd;
    this.store = this.newStore();
    this.executor = new SimExecutor(this, setup.nthreads);
    this.link = this.dial();
  }

  private newStore(): SimStore {
    return new SimStore(this.world, this.cluster.plan, {
      pause: reason => this.tell({ op: 'pause', reason }),
      unpause: () => this.tell({ op: 'unpause' }),
      lost: tid => {
        this.cluster.lossy = true;
        this.tell({ op: 'data-lost', tids: [tid] });
      }
    });
  }

  /** A link to the scheduler that there is; what comes over an older one is not heard. */
  private dial(): Link {
    const link: Link = new Link(this.world, this.cluster.plan.loss, {
      receive: messages => {
        if (this.link === link) this.receive(messages as SchedulerToWorker[]);
      },
      closed: reason => {
        if (this.link === link) this.closed(reason);
      }
    });
    this.cluster.scheduler.openWorker(this, link);
    this.held = this.holding();
    link.send(0, [{ op: 'register-worker', ...this.held } as { op: string }]);
    return link;
  }

  /** Values that it brings to the next scheduler. */
  private holding(): Held {
    // From here on nothing begins that is not announced.
    if (this.state !== null) this.tell({ op: 'pause', reason: 'it has a scheduler again' });
    const held: Held = {
      epoch: this.epoch,
      tids: [],
      keys: [],
      nbytes: [],
      types: [],
      running: []
    };
    for (const task of this.state?.tasks.values() ?? []) {
      if (task.state !== 'memory' || !this.store.has(task.tid)) continue;
      held.tids.push(task.tid);
      held.keys.push(task.key);
      held.nbytes.push(task.nbytes);
      held.types.push(task.type);
    }
    return held;
  }

  get tries(): ExecutorHost['tries'] {
    return this.cluster.tries;
  }
  get label(): string {
    return this.id === 0 ? 'w?' : `w${this.id}`;
  }
  get now(): number {
    return this.world.now + this.skew;
  }

  holds(tid: number): boolean {
    return this.store.get(tid) !== undefined;
  }

  put(tid: number, value: number, nbytes: number): void {
    this.store.put(tid, { value, nbytes });
  }

  // ---------------------------------------------------------------- the scheduler's link

  receive(messages: SchedulerToWorker[]): void {
    for (const message of messages) {
      if (!this.alive) return;
      if (message.op === 'hello') this.greet(message);
      else if (message.op === 'close') this.close(message.reason);
      else if (message.op === 'workers') this.peersChanged(message);
      else if (message.op !== 'functions' && message.op !== 'request') this.tell(message);
    }
  }

  private closed(reason: string): void {
    if (!this.alive) return;
    if (!this.cluster.plan.reconnects) return this.close(`the scheduler is gone: ${reason}`);
    this.world.note(this.label, 'loses its scheduler');
    redialLater(
      this.cluster,
      () => this.alive,
      () => (this.link = this.dial())
    );
  }

  private greet({ worker: id, heartbeat, epoch, adopted }: WorkerHello): void {
    const { nthreads, memoryLimit, resources, host } = this.setup;
    const before = this.state;
    this.id = id;
    const put = this.startOver(adopted);
    this.epoch = epoch;
    this.events = [];
    this.outgoing = [];
    this.state = new WorkerState({
      worker: id,
      address: `sim://${id}`,
      host,
      nthreads,
      memoryLimit,
      resources,
      seed: id,
      storyLength: 1000
    });
    if (put.tids.length > 0) this.tell(put);
    if (this.hog > 0 && memoryLimit === 0) this.tell({ op: 'pause', reason: 'memory is short' });
    if (before === null) this.startBeating(heartbeat);
    this.cluster.workerReady(this);
  }

  private startBeating(heartbeat: number): void {
    this.world.beat(TICK_MS, () => {
      this.tell({ op: 'tick' });
      return this.alive;
    });
    this.world.beat(READING_MS, () => {
      if (this.alive) this.store.measured(this.hog + this.store.memoryBytes);
      return this.alive;
    });
    this.world.beat(heartbeat, () => {
      this.beat();
      return this.alive;
    });
  }

  /** What was announced and taken over goes on under its new number; all else is given up. */
  private startOver(adopted: readonly number[]): PutData {
    const { held, store } = this;
    const put: PutData = { op: 'put-data', tids: [], keys: [], nbytes: [], types: [] };
    if (this.state === null) return put;
    this.executor.abandon();
    this.executor = new SimExecutor(this, this.setup.nthreads);
    store.close();
    this.store = this.newStore();
    this.asked.clear();
    this.peers.clear();
    held?.tids.forEach((tid, i) => {
      const now = adopted[i] ?? -1;
      const stored = store.peek(tid);
      if (now < 0 || stored === undefined) return;
      this.store.put(now, stored);
      put.tids.push(now);
      put.keys.push(held.keys[i] ?? '');
      put.nbytes.push(stored.nbytes);
      put.types.push('number');
    });
    return put;
  }

  private beat(): void {
    const executing = this.executor.running().map(task => task.tid);
    const metrics = { cpu: 0, rss: 0, managed: 0, spilled: 0, executing: executing.length };
    const rest = { ready: 0, inMemory: 0, netIn: 0, netOut: 0, loopDelay: 0, bandwidth: 0 };
    this.say({
      op: 'heartbeat-worker',
      now: this.now,
      metrics: { ...metrics, ...rest },
      executing,
      executingFor: executing.map(() => 0)
    });
    this.flush();
  }

  private peersChanged(message: Extract<SchedulerToWorker, { op: 'workers' }>): void {
    for (const { worker } of message.added) {
      const peer = this.cluster.worker(worker);
      if (peer !== undefined) this.peers.set(worker, peer);
    }
    this.tell(message);
    for (const worker of message.removed) {
      this.peers.delete(worker);
      if (this.asked.delete(worker)) this.tell({ op: 'gather-failure', worker });
    }
  }

  private say(message: WorkerToScheduler): void {
    if (message.op !== 'heartbeat-worker') this.world.note(this.label, `> ${describe(message)}`);
    this.outgoing.push(message);
  }

  private flush(): void {
    const messages = this.outgoing;
    this.outgoing = [];
    this.link.send(0, messages);
  }

  // ---------------------------------------------------------------- events and instructions

  tell(event: WorkerEvent): void {
    this.events.push(event);
    // Carrying out an instruction may cause events: they wait for their turn.
    if (this.handling || this.state === null || !this.alive) return;
    this.handling = true;
    for (let i = 0; i < this.events.length; i++)
      this.handle(this.state, this.events[i] as WorkerEvent);
    this.events = [];
    this.handling = false;
    this.flush();
  }

  private handle(state: WorkerState, event: WorkerEvent): void {
    if (event.op !== 'tick') this.world.note(this.label, `< ${describe(event)}`);
    const instructions = state.handle(event, this.now);
    state.validate();
    this.checkOrder(state, instructions);
    for (const instruction of instructions) this.carryOut(instruction);
    if (event.op === 'execution-began') this.watchDeadline(state.get(event.tid)?.deadline ?? 0);
  }

  /** A task with a timeout has begun; its end is looked for when it is due. */
  private watchDeadline(deadline: number): void {
    if (deadline === 0) return;
    this.world.timer(Math.max(0, deadline - this.now + 1), () => this.tell({ op: 'tick' }));
  }

  /** What is started goes before all that is left waiting for a slot; clients take turns. */
  private checkOrder(state: WorkerState, instructions: readonly Instruction[]): void {
    let last: Readonly<WorkerTask> | undefined;
    for (const one of instructions) if (one.op === 'execute') last = state.get(one.tid);
    if (last === undefined || last.resources !== null) return;
    for (const task of state.tasks.values()) {
      if (task.state !== 'ready') continue;
      const order =
        task.owner === last.owner
          ? comparePriority(task.priority, last.priority)
          : task.priority[0] - last.priority[0];
      if (order < 0) {
        throw new Error(
          `worker ${this.id} starts ${last.key} before ${task.key}, which is more urgent`
        );
      }
    }
  }

  private carryOut(instruction: Instruction): void {
    switch (instruction.op) {
      case 'send':
        return this.say(instruction.message);
      case 'execute':
        return this.execute(instruction.tid, instruction.runId);
      case 'kill-execution':
        return this.executor.kill(instruction.tid, instruction.runId);
      case 'recall-executions':
        return this.executor.recall(instruction.tids, instruction.runIds);
      case 'gather':
        return this.gather(instruction.worker, instruction.tids);
      case 'retry-busy': {
        const { worker } = instruction;
        return this.world.after(instruction.after, () => this.tell({ op: 'retry-busy', worker }));
      }
      case 'drop-data':
        for (const tid of instruction.tids) this.store.delete(tid);
        return;
    }
  }

  private execute(tid: number, runId: number): void {
    const task = this.state?.get(tid);
    if (task === undefined)
      throw new Error(`worker ${this.id} executes task ${tid}, which it does not know`);
    if (this.executor.handed().some(one => one.tid === tid)) {
      throw new Error(`worker ${this.id} executes ${task.key} twice at once`);
    }
    for (const dep of task.deps) {
      if (this.store.has(dep.tid) || this.isLost(dep.tid)) continue;
      throw new Error(`worker ${this.id} executes ${task.key} without its input ${dep.key}`);
    }
    this.executor.execute({
      tid,
      runId,
      key: task.key,
      args: task.args,
      deps: task.deps.map(dep => dep.tid),
      inputs: [],
      announce: task.timeout > 0,
      wanted: task.wanted
    });
  }

  /** Its file could not be read, and the state is about to hear of that. */
  private isLost(tid: number): boolean {
    return this.events.some(event => event.op === 'data-lost' && event.tids.includes(tid));
  }

  // ---------------------------------------------------------------- values from and for others

  private gather(peerId: number, tids: number[]): void {
    const { world } = this;
    if (this.asked.has(peerId)) {
      throw new Error(`worker ${this.id} asks worker ${peerId} twice at once`);
    }
    const request = {};
    this.asked.set(peerId, request);
    const answer = (event: WorkerEvent, values: Given[]): void => {
      if (!this.alive || this.asked.get(peerId) !== request) return;
      this.asked.delete(peerId);
      for (const { tid, value, nbytes } of values) this.put(tid, value, nbytes);
      this.tell(event);
    };
    const fail = (): void => answer({ op: 'gather-failure', worker: peerId }, []);
    const peer = this.peers.get(peerId);
    if (peer === undefined) return world.after(0.01, fail);
    world.after(world.soon(3), () => {
      if (!peer.alive || this.cluster.isCut(this.id, peerId)) world.after(world.soon(300), fail);
      else if (peer.epoch !== this.epoch) fail();
      else peer.serve(peerId, tids, answer, fail);
    });
  }

  /** Answers a peer, to whom we are `worker`: busy, with what it has, or, when it lies, with less or with what was not asked. */
  private serve(worker: number, tids: number[], answer: Answer, fail: () => void): void {
    const { world } = this;
    const { plan } = this.cluster;
    if (this.answering >= MOST_ANSWERS || (world.faulty && world.rng.chance(plan.busy))) {
      return world.after(world.soon(3), () => answer({ op: 'gather-busy', worker }, []));
    }
    let given = tids.filter(tid => this.store.has(tid));
    if (world.faulty && world.rng.chance(plan.lies)) given = this.lie(given);
    const torn = world.faulty && world.rng.chance(plan.torn);
    const { store } = this;
    this.answering++;
    const send = (): void => {
      const values = given.flatMap((tid): Given[] => {
        const stored = this.store.get(tid);
        return stored === undefined ? [] : [{ tid, ...stored }];
      });
      const bytes = values.reduce((sum, { nbytes }) => sum + nbytes, 0);
      world.after(world.soon(5) + bytes / BANDWIDTH, () => {
        this.answering--;
        if (this.store === store) store.unpin(given.filter(tid => store.get(tid) !== undefined));
        if (!this.alive || torn) return fail();
        const nbytes = values.map(value => value.nbytes);
        const types = values.map(() => 'number');
        const tids = values.map(value => value.tid);
        answer({ op: 'gather-success', worker, tids, nbytes, types }, values);
      });
    };
    if (this.store.pin(given, send)) send();
  }

  private lie(given: number[]): number[] {
    const { world } = this;
    world.note('*', `FAULT worker ${this.id} lies to a peer`);
    if (world.rng.chance(0.5)) return given.filter(() => world.rng.chance(0.5));
    const others = this.store.tids().filter(tid => !given.includes(tid));
    return others.length === 0 ? given : [...given, world.rng.pick(others)];
  }

  /** A client puts a value here; false when nobody is there to take it. */
  take(epoch: string, tid: number, key: string, value: number, nbytes: number): boolean {
    if (!this.alive || this.epoch !== epoch) return false;
    this.put(tid, value, nbytes);
    this.tell({ op: 'put-data', tids: [tid], keys: [key], nbytes: [nbytes], types: ['number'] });
    return true;
  }

  // ---------------------------------------------------------------- memory and the end

  /** Something takes so much memory beside the values; without a limit it only pauses. */
  setHog(share: number): void {
    this.hog = share * this.setup.memoryLimit;
    if (this.setup.memoryLimit === 0) this.tell({ op: share > 0 ? 'pause' : 'unpause' });
  }

  /** Ends by itself: leaves the cluster, drops what it has. */
  close(reason: string): void {
    if (!this.alive) return;
    this.world.note(this.label, `closes: ${reason}`);
    this.say({ op: 'worker-status-change', status: 'closing' });
    this.flush();
    this.end(reason);
  }

  /** SIGKILL: what it has said arrives, what it would have said does not. */
  crash(): void {
    if (!this.alive) return;
    this.world.note(this.label, 'dies');
    this.end(null);
  }

  private end(said: string | null): void {
    this.alive = false;
    this.store.close();
    this.link.close(0, said ?? '');
    this.onEnd(said);
  }
}

interface Given extends Stored {
  tid: number;
}
type Answer = (event: WorkerEvent, values: Given[]) => void;
