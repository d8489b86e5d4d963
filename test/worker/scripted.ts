/**
 * A scheduler's end of the link for tests: real port, real sockets; what it says is up to the test.
 */
import { CommServer, createToken } from '../../src/comm/server.ts';
import { accept } from '../../src/comm/link.ts';
import type { Connection } from '../../src/comm/connection.ts';
import { Requester } from '../../src/comm/rpc.ts';
import { PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import type {
  RegisterWorker,
  SchedulerToWorker,
  WorkerToScheduler
} from '../../src/protocol/messages.ts';
import { captureFunction } from '../../src/serialize/capture.ts';
import { packFrames, serializeValue } from '../../src/serialize/value.ts';
import { Worker } from '../../src/worker/worker.ts';
import type { WorkerOptions } from '../../src/worker/options.ts';
import { compute } from './state/driver.ts';
import type { TaskOf } from './state/driver.ts';

type Of<Op extends WorkerToScheduler['op']> = Extract<WorkerToScheduler, { op: Op }>;

/** One registered worker, as its scheduler sees it. */
export class Peer {
  readonly number: number;
  readonly register: RegisterWorker;
  readonly messages: WorkerToScheduler[] = [];
  readonly requester: Requester;
  private readonly connection: Connection<SchedulerToWorker>;
  private wakeUps: (() => void)[] = [];

  constructor(number: number, register: RegisterWorker, connection: Connection<SchedulerToWorker>) {
    this.number = number;
    this.register = register;
    this.connection = connection;
    this.requester = new Requester(message => connection.send(message));
  }

  send(message: SchedulerToWorker): void {
    this.connection.send(message);
  }

  drop(reason: string): void {
    this.connection.close(1000, reason);
  }

  receive(message: WorkerToScheduler): void {
    if (message.op === 'response') this.requester.answer(message);
    this.messages.push(message);
    for (const wake of this.wakeUps.splice(0)) wake();
  }

  /** The first message of this kind that fits, now or later. */
  async got<Op extends WorkerToScheduler['op']>(
    op: Op,
    fits: (message: Of<Op>) => boolean = () => true
  ): Promise<Of<Op>> {
    for (;;) {
      const found = this.messages.find(one => one.op === op && fits(one as Of<Op>));
      if (found !== undefined) return found as Of<Op>;
      await new Promise<void>(resolve => this.wakeUps.push(resolve));
    }
  }

  finished(tid: number): Promise<Of<'tasks-finished'>> {
    return this.got('tasks-finished', message => message.tids.includes(tid));
  }

  async define(fn: number, code: (...args: never[]) => unknown): Promise<void> {
    const { name, hash, blob } = await captureFunction(code);
    this.send({ op: 'functions', fns: [fn], names: [name], hashes: [hash], blobs: [blob] });
  }

  /** Sends tasks with real arguments. */
  compute(...tasks: (TaskOf & { args?: unknown[]; wanted?: boolean })[]): void {
    const message = compute(...tasks);
    tasks.forEach((task, i) => {
      const reference = (value: object): number | undefined =>
        value instanceof Dep ? value.index : undefined;
      message.args[i] = packFrames(serializeValue(task.args ?? [], { reference }));
      message.wanted[i] = task.wanted === true ? 1 : 0;
    });
    this.send(message);
  }
}

/** Stands for the task's dependency number `index`. */
export class Dep {
  readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
}

export class ScriptedScheduler {
  readonly token = createToken();
  readonly peers: Peer[] = [];
  protocol = PROTOCOL_VERSION;
  greets = true;
  address = '';
  private readonly server = new CommServer({ token: this.token });
  private readonly workers: Worker[] = [];

  async start(): Promise<this> {
    this.server.link('/worker', (wire, peerName) => {
      let peer: Peer | null = null;
      const connection = accept<SchedulerToWorker, WorkerToScheduler>(wire, peerName, {
        onMessages: messages => {
          for (const message of messages) {
            if (message.op === 'register-worker') peer = this.greet(message, connection);
            else peer?.receive(message);
          }
        },
        onClose: () => undefined
      });
    });
    this.address = await this.server.listen();
    return this;
  }

  private greet(register: RegisterWorker, connection: Connection<SchedulerToWorker>): Peer {
    const peer = new Peer(this.peers.length + 1, register, connection);
    if (!this.greets) return peer;
    peer.send({
      op: 'hello',
      protocol: this.protocol,
      worker: peer.number,
      cluster: { id: 'x', name: 'x', kind: 'local' },
      heartbeat: 50,
      epoch: 'x',
      adopted: register.tids.map(() => -1)
    });
    const rowOf = (one: Peer) => ({
      worker: one.number,
      address: one.register.address,
      host: one.register.host
    });
    for (const other of this.peers) {
      other.send({ op: 'workers', added: [rowOf(peer)], removed: [] });
    }
    this.peers.push(peer);
    peer.send({ op: 'workers', added: this.peers.map(rowOf), removed: [] });
    return peer;
  }

  async worker(options: Partial<WorkerOptions> = {}): Promise<{ worker: Worker; peer: Peer }> {
    const worker = await Worker.start({
      schedulerAddress: this.address,
      token: this.token,
      name: `w${this.workers.length}`,
      nthreads: 1,
      memoryLimit: 0,
      ...options
    });
    this.workers.push(worker);
    const peer = this.peers.find(one => one.register.address === worker.address);
    if (peer === undefined) throw new Error('the worker did not register');
    return { worker, peer };
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map(worker => worker.close('the test is over')));
    await this.server.close();
  }
}
