/**
 * The simulated world: one real scheduler state, real worker and client states, and everything
 * around them (links, clock, stores, executors, crashes) made from one seed. Events are worked off
 * in virtual time; every state validates itself after each of its events.
 */
import { Heap } from '../../src/base/heap.ts';
import { Rng } from '../../src/base/rng.ts';
import { ClientState } from '../../src/client/state/client-state.ts';
import { DEFAULT_OPTIONS, SchedulerState } from '../../src/scheduler/state/state.ts';
import type { SchedulerEvent } from '../../src/scheduler/state/state.ts';
import { validate } from '../../src/scheduler/state/validate.ts';
import type {
  ClientToScheduler,
  SchedulerToClient,
  SchedulerToWorker,
  WorkerToScheduler
} from '../../src/protocol/messages.ts';
import { WorkerState } from '../../src/worker/state/state.ts';
import type { Instruction, WorkerEvent } from '../../src/worker/state/state.ts';
import { decodeBehaviour, hashText, valueOf } from './program.ts';

interface Happening {
  at: number;
  order: number;
  run: () => void;
}

/** A worker process: ends with a crash, and a new one takes its place. */
export class SimWorker {
  readonly name: string;
  id = 0;
  alive = true;
  state: WorkerState | null = null;
  /** tid -> value */
  readonly store = new Map<number, number>();
  readonly running = new Map<string, { killed: boolean }>();

  constructor(name: string) {
    this.name = name;
  }
}

export class SimClient {
  readonly id: string;
  readonly state = new ClientState();
  alive = true;

  constructor(id: string) {
    this.id = id;
  }
}

export class World {
  readonly rng: Rng;
  readonly scheduler: SchedulerState;
  readonly workers: SimWorker[] = [];
  readonly clients: SimClient[] = [];
  now = 1_000_000;
  crashes = 0;
  events = 0;
  /** Faults of links and processes happen while true. */
  faults = true;
  hash = 0x811c9dc5;
  readonly log: string[] | null;
  private readonly agenda = new Heap<Happening>(
    (a, b) => a.at < b.at || (a.at === b.at && a.order < b.order)
  );
  private order = 0;
  /** When the last message on a directed link arrives: links keep order. */
  private readonly arrivals = new Map<string, number>();
  private readonly attempts = new Map<string, number>();

  constructor(seed: number, verbose: boolean) {
    this.rng = new Rng(seed);
    this.log = verbose ? [] : null;
    this.scheduler = new SchedulerState({
      ...DEFAULT_OPTIONS,
      storyLines: 2000,
      streamLines: 16,
      cluster: { id: 'sim', name: 'sim', kind: 'sim' }
    });
  }

  note(line: string): void {
    this.hash = hashText(`${this.now.toFixed(3)} ${line}`, this.hash);
    this.log?.push(`${this.now.toFixed(3).padStart(14)} ${line}`);
  }

  after(delay: number, run: () => void): void {
    this.agenda.push({ at: this.now + delay, order: this.order++, run });
  }

  /** Works off the agenda until nothing is left or virtual time runs out. */
  run(untilTime: number): void {
    for (
      let next = this.agenda.peek();
      next !== undefined && next.at <= untilTime;
      next = this.agenda.peek()
    ) {
      this.agenda.pop();
      this.now = next.at;
      next.run();
      if (++this.events > 200_000) throw new Error('the simulation does not come to rest');
    }
    this.now = Math.max(this.now, untilTime);
  }

  /** Delivers in order on each link, late by a random delay. */
  private deliver(link: string, run: () => void): void {
    const slow = this.rng.chance(0.05) ? this.rng.integer(20, 200) : 0;
    const at = Math.max(
      this.now + 0.1 + this.rng.next() * 5 + slow,
      (this.arrivals.get(link) ?? 0) + 0.001
    );
    this.arrivals.set(link, at);
    this.after(at - this.now, run);
  }

  // ---------------------------------------------------------------- scheduler

  apply(event: SchedulerEvent): void {
    this.note(`scheduler <- ${describe(event)}`);
    const instructions = this.scheduler.handle(event, this.now);
    validate(this.scheduler);
    for (const instruction of instructions) {
      if (instruction.to === 'worker') {
        const worker = this.workers.find(one => one.id === instruction.worker);
        if (worker !== undefined) {
          const message = structuredClone(instruction.message);
          this.deliver(`s>w${worker.id}`, () => this.workerReceives(worker, message));
        }
      } else {
        const client = this.clients.find(one => one.id === instruction.client);
        const message = structuredClone(instruction.message);
        if (client !== undefined)
          this.deliver(`s>${client.id}`, () => this.clientReceives(client, message));
      }
    }
  }

  // ---------------------------------------------------------------- workers

  startWorker(name: string): SimWorker {
    const worker = new SimWorker(name);
    this.workers.push(worker);
    this.after(this.rng.next() * 20, () => {
      if (!worker.alive) return;
      worker.id = this.scheduler.nextWorker;
      const facts = {
        name,
        address: `sim://${worker.id}`,
        host: 'sim',
        pid: worker.id,
        memoryLimit: 0,
        nanny: ''
      };
      this.apply({
        type: 'add-worker',
        worker: worker.id,
        facts: { ...facts, nthreads: 1 + (worker.id % 2), resources: {} }
      });
      this.beat(worker);
    });
    return worker;
  }

  private beat(worker: SimWorker): void {
    this.after(100, () => {
      if (!worker.alive) return;
      if (worker.state !== null) this.workerEvent(worker, { op: 'tick' });
      this.beat(worker);
    });
  }

  /** SIGKILL: what it has said arrives, what it would have said does not; then the link is closed. */
  crash(worker: SimWorker): void {
    if (!worker.alive) return;
    worker.alive = false;
    this.crashes++;
    this.note(`worker ${worker.name} crashes`);
    if (worker.id === 0) return;
    this.deliver(`w${worker.id}>s`, () =>
      this.apply({
        type: 'remove-worker',
        worker: worker.id,
        reason: 'killed by SIGKILL',
        expected: false
      })
    );
  }

  private workerReceives(worker: SimWorker, message: SchedulerToWorker): void {
    if (!worker.alive) return;
    if (message.op === 'hello') {
      worker.state = new WorkerState({
        worker: message.worker,
        address: `sim://${message.worker}`,
        host: 'sim',
        nthreads: 1 + (message.worker % 2),
        memoryLimit: 0,
        seed: message.worker
      });
      return;
    }
    if (message.op === 'functions' || message.op === 'request' || message.op === 'close') return;
    this.workerEvent(worker, message);
  }

  private workerEvent(worker: SimWorker, event: WorkerEvent): void {
    const { state } = worker;
    if (!worker.alive || state === null) return;
    if (event.op !== 'tick') this.note(`worker ${worker.id} <- ${describeMessage(event)}`);
    const instructions = state.handle(event, this.now);
    state.validate();
    for (const instruction of instructions) this.carryOut(worker, instruction);
  }

  private carryOut(worker: SimWorker, instruction: Instruction): void {
    switch (instruction.op) {
      case 'send': {
        const message = structuredClone(instruction.message);
        this.deliver(`w${worker.id}>s`, () => this.fromWorker(worker, message));
        return;
      }
      case 'execute':
        return this.execute(worker, instruction.tid, instruction.runId);
      case 'kill-execution': {
        const run = worker.running.get(`${instruction.tid}:${instruction.runId}`);
        if (run === undefined) return;
        run.killed = true;
        return;
      }
      case 'recall-executions':
        return;
      case 'gather':
        return this.gather(worker, instruction.worker, instruction.tids);
      case 'retry-busy': {
        const peer = instruction.worker;
        this.after(instruction.after, () =>
          this.workerEvent(worker, { op: 'retry-busy', worker: peer })
        );
        return;
      }
      case 'drop-data':
        for (const tid of instruction.tids) worker.store.delete(tid);
        return;
    }
  }

  private fromWorker(worker: SimWorker, message: WorkerToScheduler): void {
    this.apply({ type: 'worker-message', worker: worker.id, message });
  }

  private execute(worker: SimWorker, tid: number, runId: number): void {
    const task = worker.state?.get(tid);
    if (task === undefined) throw new Error(`execute of unknown task ${tid}`);
    const { failures, duration, nbytes } = decodeBehaviour(task.args);
    const key = task.key;
    const inputs = task.deps.map(dep => {
      const value = worker.store.get(dep.tid);
      if (value === undefined)
        throw new Error(`${key} runs on ${worker.name} without its input ${dep.key}`);
      return value;
    });
    const run = { killed: false };
    worker.running.set(`${tid}:${runId}`, run);
    const start = this.now;
    const takes = duration * (0.5 + this.rng.next());
    if (task.timeout > 0) this.workerSoon(worker, { op: 'execution-began', tid, runId });
    this.after(takes, () => {
      if (!worker.alive) return;
      worker.running.delete(`${tid}:${runId}`);
      if (run.killed) {
        this.workerEvent(worker, { op: 'execution-killed', tid, runId });
        return;
      }
      const attempt = (this.attempts.get(key) ?? 0) + 1;
      this.attempts.set(key, attempt);
      if (attempt <= failures) {
        const error = {
          code: 'TASK_ERRED',
          message: `Error: ${key}`,
          traceback: '',
          exception: null,
          blame: key,
          worker: ''
        };
        this.workerEvent(worker, {
          op: 'execute-failure',
          tid,
          runId,
          error,
          lane: 0,
          start,
          duration: takes
        });
        return;
      }
      worker.store.set(tid, valueOf(key, inputs));
      this.workerEvent(worker, {
        op: 'execute-success',
        tids: [tid],
        runIds: [runId],
        nbytes: [nbytes],
        types: ['number'],
        lanes: [0],
        starts: [start],
        durations: [takes],
        inline: [null]
      });
    });
  }

  private workerSoon(worker: SimWorker, event: WorkerEvent): void {
    this.after(0.01, () => this.workerEvent(worker, event));
  }

  private gather(worker: SimWorker, peerId: number, tids: number[]): void {
    const peer = this.workers.find(one => one.id === peerId);
    const delay = 0.2 + this.rng.next() * 10;
    if (this.faults && this.rng.chance(0.03)) {
      this.after(delay, () => this.workerEvent(worker, { op: 'gather-failure', worker: peerId }));
      return;
    }
    if (this.faults && this.rng.chance(0.1)) {
      this.after(delay, () => this.workerEvent(worker, { op: 'gather-busy', worker: peerId }));
      return;
    }
    this.after(delay, () => {
      if (peer?.alive !== true) {
        this.workerEvent(worker, { op: 'gather-failure', worker: peerId });
        return;
      }
      const found = tids.filter(tid => peer.store.has(tid));
      const values = found.map(tid => peer.store.get(tid) as number);
      const nbytes = found.map(tid => peer.state?.get(tid)?.nbytes ?? 0);
      this.after(this.rng.next() * 10, () => {
        if (!worker.alive) return;
        found.forEach((tid, i) => worker.store.set(tid, values[i] as number));
        this.workerEvent(worker, {
          op: 'gather-success',
          worker: peerId,
          tids: found,
          nbytes,
          types: found.map(() => 'number')
        });
      });
    });
  }

  // ---------------------------------------------------------------- clients

  startClient(id: string): SimClient {
    const client = new SimClient(id);
    this.clients.push(client);
    this.deliver(`${id}>s`, () => this.apply({ type: 'add-client', client: id, name: id }));
    return client;
  }

  say(client: SimClient, message: ClientToScheduler): void {
    const copy = structuredClone(message);
    this.deliver(`${client.id}>s`, () =>
      this.apply({ type: 'client-message', client: client.id, message: copy })
    );
  }

  /** The client's process ends without a word. */
  vanish(client: SimClient): void {
    client.alive = false;
    this.note(`client ${client.id} vanishes`);
    this.deliver(`${client.id}>s`, () => this.apply({ type: 'remove-client', client: client.id }));
  }

  private clientReceives(client: SimClient, message: SchedulerToClient): void {
    if (!client.alive) return;
    this.note(`client ${client.id} <- ${message.op}`);
    client.state.handle(message);
  }

  /** A client puts a value on a worker and tells the scheduler. */
  put(worker: SimWorker, tid: number, key: string, value: number, nbytes: number): void {
    worker.store.set(tid, value);
    this.workerEvent(worker, {
      op: 'put-data',
      tids: [tid],
      keys: [key],
      nbytes: [nbytes],
      types: ['number']
    });
  }
}

function describe(event: SchedulerEvent): string {
  if (event.type === 'worker-message')
    return `worker ${event.worker}: ${describeMessage(event.message)}`;
  if (event.type === 'client-message')
    return `client ${event.client}: ${describeMessage(event.message)}`;
  return 'worker' in event ? `${event.type} ${event.worker}` : event.type;
}

/** The op and the numbers that tell which tasks. */
function describeMessage(message: { op: string }): string {
  const fields = message as Record<string, unknown>;
  const parts: string[] = [message.op];
  for (const name of ['tid', 'tids', 'cids', 'keys', 'runId', 'runIds', 'worker', 'holders']) {
    if (fields[name] !== undefined) parts.push(`${name}=${JSON.stringify(fields[name])}`);
  }
  return parts.join(' ');
}
