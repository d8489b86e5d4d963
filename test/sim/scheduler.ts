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
  RequestMessage,
  ResponseMessage,
  WorkerExited,
  WorkerToScheduler
} from '../../src/protocol/messages.ts';
import type { SimClient } from './client.ts';
import type { Cluster } from './cluster.ts';
import { Ledger } from './ledger.ts';
import type { LinkEnd } from './link.ts';
import { describe } from './messages.ts';
import type { SimWorker } from './worker.ts';

/** How long the nanny's report of a vanished worker is awaited. */
const EXIT_REPORT_MS = 1000;
const TICK_MS = 250;

export class SimScheduler {
  readonly state: SchedulerState;
  readonly ledger: Ledger;
  skew = 0;
  private readonly cluster: Cluster;
  private readonly workers = new Map<number, SimWorker>();
  private readonly clients = new Map<string, SimClient>();
  private readonly exits = new Map<number, WorkerExited>();
  private readonly awaited = new Map<number, (exit: WorkerExited | null) => void>();

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.state = new SchedulerState({ ...cluster.plan.scheduler, cluster: cluster.identity });
    this.ledger = new Ledger(cluster, this.state);
    cluster.world.beat(TICK_MS, () => {
      this.apply({ type: 'tick' });
      return true;
    });
  }

  apply(event: SchedulerEvent): void {
    const { world } = this.cluster;
    if (event.type !== 'tick' && !isHeartbeat(event)) world.note('S', `< ${describeEvent(event)}`);
    this.ledger.before(event);
    const instructions = this.state.handle(event, world.now + this.skew);
    validate(this.state);
    this.ledger.after(event, instructions);
    const frames = new Map<SimWorker | SimClient, { op: string }[]>();
    for (const instruction of instructions) {
      const peer =
        instruction.to === 'worker'
          ? this.workers.get(instruction.worker)
          : this.clients.get(instruction.client);
      if (peer === undefined) continue;
      const frame = frames.get(peer);
      if (frame === undefined) frames.set(peer, [instruction.message]);
      else frame.push(instruction.message);
    }
    for (const [peer, frame] of frames) peer.link.send(1, frame);
  }

  // ---------------------------------------------------------------- links

  openWorker(worker: SimWorker): LinkEnd {
    const { setup } = worker;
    let id = 0;
    return {
      receive: messages => {
        for (const message of messages as WorkerToScheduler[]) {
          if (message.op === 'register-worker') {
            id = this.state.nextWorker;
            this.workers.set(id, worker);
            this.cluster.numbered(id, worker);
            this.apply({
              type: 'add-worker',
              worker: id,
              facts: { ...setup, address: `sim://${id}` }
            });
          } else this.apply({ type: 'worker-message', worker: id, message });
        }
      },
      closed: reason => {
        if (id !== 0) this.workerGone(id, worker, reason);
      }
    };
  }

  private workerGone(id: number, worker: SimWorker, linkReason: string): void {
    const { world } = this.cluster;
    const { pid } = worker.setup;
    const remove = (exit: WorkerExited | null): void => {
      this.awaited.delete(pid);
      this.exits.delete(pid);
      this.workers.delete(id);
      const expected = exit?.expected ?? false;
      const { tids, runIds } = exit ?? {};
      const known = tids !== undefined && runIds !== undefined;
      this.apply({
        type: 'remove-worker',
        worker: id,
        reason: exit?.reason ?? linkReason,
        expected,
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

  openClient(client: SimClient): LinkEnd {
    const { id } = client;
    return {
      receive: messages => {
        for (const message of messages as ClientToScheduler[]) {
          if (message.op === 'register-client') {
            this.clients.set(id, client);
            const weight = id.endsWith('1') ? 3 : 1;
            this.apply({ type: 'add-client', client: id, name: id, weight });
          } else if (message.op === 'request') {
            client.link.send(1, [this.answer(id, message)]);
          } else this.apply({ type: 'client-message', client: id, message });
        }
      },
      closed: () => {
        if (!this.clients.delete(id)) return;
        this.apply({ type: 'remove-client', client: id });
      }
    };
  }

  /** The questions of src/scheduler/methods.ts that simulated clients ask. */
  private answer(client: string, { id, method, params }: RequestMessage): ResponseMessage {
    const { state } = this;
    if (method === 'locate') {
      const task = state.clients.get(client)?.bindings.get(params as number)?.task;
      const holders = smallList(task?.whoHas ?? null).map(worker => worker.id);
      return { op: 'response', id, result: { tid: task?.id ?? 0, holders } };
    }
    const { tids, workers } = state.planScatter(client, 1, null);
    const chosen = params === true ? state.runningList : workers;
    const result = { tid: tids[0] ?? 0, workers: chosen.map(worker => worker.id) };
    return { op: 'response', id, result };
  }

  /** Retires a worker; `leave` is called when it may be closed. */
  retire(id: number, options: RetireOptions, leave: () => void): void {
    const worker = this.state.workers.get(id);
    this.apply({ type: 'retire-workers', workers: [id], options });
    const retirement = worker === undefined ? undefined : this.state.retirements.get(worker);
    if (retirement === undefined) return;
    const look = (): boolean => {
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
