/**
 * The scheduler's process around the real state, as src/scheduler/scheduler.ts is: messages and
 * closed links become events, what the state says goes out as one frame a peer, and when a worker
 * vanishes its nanny's report of why is awaited for a while.
 */
import { SchedulerState } from '../../src/scheduler/state/state.ts';
import type { RetireOptions } from '../../src/scheduler/state/retire.ts';
import type { SchedulerEvent } from '../../src/scheduler/state/state.ts';
import { validate } from '../../src/scheduler/state/validate.ts';
import { smallList } from '../../src/base/small-set.ts';
import type {
  ClientToScheduler,
  RegisterWorker,
  RequestMessage,
  ResponseMessage,
  WorkerExited,
  WorkerToScheduler
} from '../../src/protocol/messages.ts';
import type { SimClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import { Ledger } from './ledger.ts';
import type { Link } from './link.ts';
import { describe } from './messages.ts';
import type { SimWorker } from './worker.ts';

/** How long the nanny's report of a vanished worker is awaited. */
const EXIT_REPORT_MS = 1000;
/** How long a process that did not say that it ends may bring its values back. */
const RETURN_MS = 5000;
const TICK_MS = 250;

export class SimScheduler {
  readonly state: SchedulerState;
  readonly ledger: Ledger;
  skew = 0;
  private readonly cluster: Cluster;
  alive = true;
  private readonly workers = new Map<number, { process: SimWorker; link: Link }>();
  private readonly clients = new Map<string, Link>();
  private readonly links = new Set<Link>();
  private readonly exits = new Map<number, WorkerExited>();
  private readonly awaited = new Map<number, (exit: WorkerExited | null) => void>();

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    const epoch = `e${++cluster.schedulers}`;
    this.state = new SchedulerState({
      ...cluster.plan.scheduler,
      cluster: cluster.identity,
      epoch
    });
    this.ledger = new Ledger(cluster, this.state);
    cluster.world.beat(TICK_MS, () => {
      this.apply({ type: 'tick' });
      return this.alive;
    });
  }

  /** SIGKILL: what it has sent arrives, then its links close. */
  crash(): void {
    this.alive = false;
    for (const link of this.links) link.close(1, 'connection lost');
  }

  apply(event: SchedulerEvent): void {
    if (!this.alive) return;
    const { world } = this.cluster;
    if (event.type !== 'tick' && !isHeartbeat(event)) world.note('S', `< ${describeEvent(event)}`);
    this.ledger.before(event);
    const instructions = this.state.handle(event, world.now + this.skew);
    validate(this.state);
    this.ledger.after(event, instructions);
    const frames = new Map<Link, { op: string }[]>();
    for (const instruction of instructions) {
      const link =
        instruction.to === 'worker'
          ? this.workers.get(instruction.worker)?.link
          : this.clients.get(instruction.client);
      if (link === undefined) continue;
      const frame = frames.get(link);
      if (frame === undefined) frames.set(link, [instruction.message]);
      else frame.push(instruction.message);
    }
    for (const [link, frame] of frames) link.send(1, frame);
  }

  // ---------------------------------------------------------------- links

  openWorker(process: SimWorker, link: Link): void {
    let id = 0;
    this.links.add(link);
    link.accept({
      receive: messages => {
        if (!this.alive) return;
        for (const message of messages as WorkerToScheduler[]) {
          if (message.op === 'register-worker') id = this.register(process, link, message);
          else this.apply({ type: 'worker-message', worker: id, message });
        }
      },
      closed: reason => {
        this.links.delete(link);
        if (id !== 0) this.workerGone(id, process, reason);
      }
    });
    if (!this.alive) link.close(1, 'nobody listens');
  }

  private register(process: SimWorker, link: Link, message: RegisterWorker): number {
    const id = this.state.nextWorker;
    const before = [...this.workers].find(([, one]) => one.process === process);
    this.workers.set(id, { process, link });
    this.cluster.numbered(id, process);
    const { epoch, tids, keys, nbytes, types, running } = message;
    const held = { epoch, tids, keys, nbytes, types, running };
    const facts = { ...process.setup, address: `sim://${id}` };
    this.apply({ type: 'add-worker', worker: id, facts, held });
    if (before === undefined) return id;
    // It is back before its broken link was noticed, or while its nanny's word was awaited.
    const [old] = before;
    this.workers.delete(old);
    const reason = 'its link broke, and it came back';
    this.apply({ type: 'remove-worker', worker: old, reason, expected: true });
    return id;
  }

  private workerGone(id: number, worker: SimWorker, linkReason: string): void {
    const { world } = this.cluster;
    if (!this.workers.has(id)) return;
    const { pid } = worker.setup;
    const remove = (exit: WorkerExited | null): void => {
      this.awaited.delete(pid);
      this.exits.delete(pid);
      if (!this.workers.delete(id)) return;
      const expected = exit?.expected ?? false;
      const { tids, runIds } = exit ?? {};
      const known = tids !== undefined && runIds !== undefined;
      this.apply({
        type: 'remove-worker',
        worker: id,
        reason: exit?.reason ?? linkReason,
        expected,
        mayReturn: exit === null && this.cluster.plan.reconnects ? RETURN_MS : 0,
        ...(known ? { executing: { tids, runIds } } : {})
      });
    };
    const early = this.exits.get(pid);
    if (early !== undefined) return remove(early);
    this.awaited.set(pid, remove);
    world.after(EXIT_REPORT_MS, () => this.awaited.get(pid)?.(null));
  }

  /** A nanny reports the end of a worker's process. */
  workerExited(exit: WorkerExited): void {
    const settle = this.awaited.get(exit.pid);
    if (settle !== undefined) settle(exit);
    else this.exits.set(exit.pid, exit);
  }

  openClient({ id }: SimClient, link: Link): void {
    this.links.add(link);
    link.accept({
      receive: messages => {
        if (!this.alive) return;
        for (const message of messages as ClientToScheduler[]) {
          if (message.op === 'register-client') this.registerClient(id, link);
          else if (message.op === 'request') link.send(1, [this.answer(id, message)]);
          else this.apply({ type: 'client-message', client: id, message });
        }
      },
      closed: () => {
        this.links.delete(link);
        if (this.clients.get(id) !== link) return;
        this.clients.delete(id);
        const type = this.cluster.plan.reconnects ? 'client-lost' : 'remove-client';
        this.apply({ type, client: id });
      }
    });
    if (!this.alive) link.close(1, 'nobody listens');
  }

  private registerClient(id: string, link: Link): void {
    const weight = id.endsWith('1') ? 3 : 1;
    this.apply({ type: 'add-client', client: id, name: id, weight });
    this.clients.set(id, link);
    link.send(1, [{ op: 'hello', epoch: this.state.epoch } as { op: string }]);
  }

  /** The questions of src/scheduler/methods.ts that simulated clients ask. */
  private answer(client: string, { id, method, params }: RequestMessage): ResponseMessage {
    const { state } = this;
    if (method === 'locate') {
      const task = state.clients.get(client)?.bindings.get(params as number)?.task;
      const holders = smallList(task?.whoHas ?? null).map(worker => worker.id);
      const { epoch } = state;
      return { op: 'response', id, result: { epoch, tid: task?.id ?? 0, holders } };
    }
    const { tids, workers } = state.planScatter(client, 1, null);
    const chosen = params === true ? state.runningList : workers;
    const ids = chosen.map(worker => worker.id);
    const result = { epoch: state.epoch, tid: tids[0] ?? 0, workers: ids };
    return { op: 'response', id, result };
  }

  /** Retires a worker; `leave` is called when it may be closed. */
  retire(id: number, options: RetireOptions, leave: () => void): void {
    const worker = this.state.workers.get(id);
    this.apply({ type: 'retire-workers', workers: [id], options });
    const retirement = worker === undefined ? undefined : this.state.retirements.get(worker);
    if (retirement === undefined) return;
    const look = (): boolean => {
      if (!this.alive) return false;
      if (retirement.outcome !== 'ready') return retirement.outcome === 'moving';
      leave();
      return false;
    };
    this.cluster.world.beat(10, look);
  }
}

function isHeartbeat(event: SchedulerEvent): boolean {
  return event.type === 'worker-message' && event.message.op === 'heartbeat-worker';
}

function describeEvent(event: SchedulerEvent): string {
  if (event.type === 'worker-message') return `w${event.worker}: ${describe(event.message)}`;
  if (event.type === 'client-message') return `${event.client}: ${describe(event.message)}`;
  if ('worker' in event) return `${event.type} w${event.worker}`;
  return 'client' in event ? `${event.type} ${event.client}` : event.type;
}
