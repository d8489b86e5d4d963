/**
 * Collects what one event makes the scheduler say, in order for each peer, growing columns where
 * the last message to that peer is of the same kind. Emptied at the end of each event.
 */
import type {
  AcquireReplicas,
  CancelledKeys,
  ComputeTasks,
  ErrorRecord,
  FreeKeys,
  Functions,
  Language,
  KeyInMemory,
  LostKeys,
  SchedulerToClient,
  SchedulerToWorker,
  TaskErredMessage,
  TaskWarning
} from '../../protocol/messages.ts';
import { smallList } from '../../base/small-set.ts';
import type { ClientRecord } from './clients.ts';
import type { FunctionRecord, Task } from './tasks.ts';
import type { WorkerRecord } from './workers.ts';

/** Bytes of arguments, functions or results in one message, unless a single one is larger. */
const MESSAGE_BYTES = 8 * 1024 * 1024;

/** Keys that a warning names. */
const EXAMPLES = 10;

export type Instruction =
  | { to: 'worker'; worker: number; message: SchedulerToWorker }
  | { to: 'client'; client: string; message: SchedulerToClient };

export class Outbox {
  private readonly workers = new Map<WorkerRecord, SchedulerToWorker[]>();
  private readonly clients = new Map<ClientRecord, SchedulerToClient[]>();
  /** Bytes in the columns of messages that can grow large. */
  private readonly sizes = new WeakMap<object, number>();
  /** Id of the event that is being handled; goes with every message it causes. */
  stimulus = '';

  toWorker(worker: WorkerRecord, message: SchedulerToWorker): void {
    const list = this.workers.get(worker);
    if (list === undefined) this.workers.set(worker, [message]);
    else list.push(message);
  }

  toClient(client: ClientRecord, message: SchedulerToClient): void {
    if (client.pseudo) return;
    const list = this.clients.get(client);
    if (list === undefined) this.clients.set(client, [message]);
    else list.push(message);
  }

  /** Whether so many bytes more still fit: frames have a limit, and a message is never cut. */
  private hasRoom(message: object, bytes: number): boolean {
    const size = (this.sizes.get(message) ?? 0) + bytes;
    this.sizes.set(message, size);
    return size <= MESSAGE_BYTES;
  }

  private last(worker: WorkerRecord): SchedulerToWorker | undefined {
    return this.workers.get(worker)?.at(-1);
  }

  /** `inputs`: its dependencies in the order of its arguments. */
  compute(worker: WorkerRecord, task: Task, inputs: readonly Task[], duration: number): void {
    const fn = task.fn as FunctionRecord;
    if (!worker.functions.has(fn.id)) this.sendFunction(worker, fn);
    let message = this.last(worker);
    const size = task.argEnd - task.argStart;
    if (message?.op !== 'compute-tasks' || !this.hasRoom(message, size)) {
      message = emptyCompute(this.stimulus);
      this.sizes.set(message, size);
      this.toWorker(worker, message);
    }
    const demands = task.demands;
    message.tids.push(task.id);
    message.keys.push(task.key);
    message.runIds.push(task.runId);
    message.fns.push(fn.id);
    message.args.push(task.args.subarray(task.argStart, task.argEnd));
    message.priorities.push(demands.priority, demands.generation, task.order);
    message.owners?.push(demands.owner.id);
    message.durations.push(duration);
    message.wanted.push(task.wants > 0 ? 1 : 0);
    for (const dep of inputs) {
      message.deps.push(dep.id);
      message.depKeys.push(dep.key);
      message.depNbytes.push(dep.nbytes);
      message.depHolders.push(smallList(dep.whoHas).map(holder => holder.id));
    }
    message.depOffsets.push(message.deps.length);
    addDemands(message, task);
  }

  private sendFunction(worker: WorkerRecord, fn: FunctionRecord): void {
    worker.functions.add(fn.id);
    let message = this.last(worker);
    if (message?.op !== 'functions' || !this.hasRoom(message, fn.blob.length)) {
      message = { op: 'functions', fns: [], names: [], hashes: [], blobs: [] } satisfies Functions;
      this.sizes.set(message, fn.blob.length);
      this.toWorker(worker, message);
    }
    message.fns.push(fn.id);
    message.names.push(fn.name);
    message.hashes.push(fn.hash);
    message.blobs.push(fn.blob);
    if (fn.language !== 'javascript') {
      message.languages ??= message.fns.map((): Language => 'javascript');
      message.languages[message.fns.length - 1] = fn.language;
    } else message.languages?.push('javascript');
  }

  free(worker: WorkerRecord, tid: number): void {
    const last = this.last(worker);
    if (last?.op === 'free-keys') last.tids.push(tid);
    else
      this.toWorker(worker, {
        op: 'free-keys',
        stimulus: this.stimulus,
        tids: [tid]
      } satisfies FreeKeys);
  }

  /** Fetch a copy, from these holders. */
  acquire(worker: WorkerRecord, task: Task, holders: readonly WorkerRecord[]): void {
    let last = this.last(worker);
    if (last?.op !== 'acquire-replicas') {
      last = {
        op: 'acquire-replicas',
        stimulus: this.stimulus,
        tids: [],
        keys: [],
        nbytes: [],
        holders: []
      } satisfies AcquireReplicas;
      this.toWorker(worker, last);
    }
    last.tids.push(task.id);
    last.keys.push(task.key);
    last.nbytes.push(Math.max(0, task.nbytes));
    last.holders.push(holders.map(holder => holder.id));
  }

  removeReplica(worker: WorkerRecord, tid: number): void {
    const last = this.last(worker);
    if (last?.op === 'remove-replicas') last.tids.push(tid);
    else this.toWorker(worker, { op: 'remove-replicas', stimulus: this.stimulus, tids: [tid] });
  }

  kill(worker: WorkerRecord, tid: number): void {
    const last = this.last(worker);
    if (last?.op === 'cancel-compute') last.tids.push(tid);
    else
      this.toWorker(worker, {
        op: 'cancel-compute',
        stimulus: this.stimulus,
        tids: [tid],
        force: true
      });
  }

  steal(worker: WorkerRecord, tid: number, runId: number): void {
    let last = this.last(worker);
    if (last?.op !== 'steal-request') {
      last = { op: 'steal-request', stimulus: this.stimulus, tids: [], runIds: [] };
      this.toWorker(worker, last);
    }
    last.tids.push(tid);
    last.runIds.push(runId);
  }

  forgetFunction(worker: WorkerRecord, fn: number): void {
    if (!worker.functions.delete(fn)) return;
    const last = this.last(worker);
    if (last?.op === 'forget-functions') last.fns.push(fn);
    else this.toWorker(worker, { op: 'forget-functions', fns: [fn] });
  }

  inMemory(client: ClientRecord, cid: number, task: Task): void {
    if (client.pseudo) return;
    let last = this.clients.get(client)?.at(-1);
    if (last?.op !== 'key-in-memory' || !this.hasRoom(last, task.inline?.length ?? 0)) {
      last = {
        op: 'key-in-memory',
        cids: [],
        tids: [],
        nbytes: [],
        types: [],
        inline: []
      } satisfies KeyInMemory;
      this.sizes.set(last, task.inline?.length ?? 0);
      this.toClient(client, last);
    }
    last.cids.push(cid);
    last.tids.push(task.id);
    last.nbytes.push(task.nbytes);
    last.types.push(task.type);
    last.inline.push(task.inline);
  }

  erred(client: ClientRecord, cid: number, error: ErrorRecord): void {
    if (client.pseudo) return;
    let last = this.clients.get(client)?.at(-1);
    if (last?.op !== 'task-erred') {
      last = { op: 'task-erred', cids: [], which: [], errors: [] } satisfies TaskErredMessage;
      this.toClient(client, last);
    }
    let which = last.errors.lastIndexOf(error);
    if (which < 0) which = last.errors.push(error) - 1;
    last.cids.push(cid);
    last.which.push(which);
  }

  lost(client: ClientRecord, cid: number): void {
    if (client.pseudo) return;
    const last = this.clients.get(client)?.at(-1);
    if (last?.op === 'lost-keys') last.cids.push(cid);
    else this.toClient(client, { op: 'lost-keys', cids: [cid] } satisfies LostKeys);
  }

  cancelled(client: ClientRecord, cid: number, reason: string): void {
    if (client.pseudo) return;
    const last = this.clients.get(client)?.at(-1);
    if (last?.op === 'cancelled-keys' && last.reason === reason) last.cids.push(cid);
    else
      this.toClient(client, { op: 'cancelled-keys', cids: [cid], reason } satisfies CancelledKeys);
  }

  /** One message for all keys that it is about. */
  warning(client: ClientRecord, code: string, text: string, cid: number): void {
    const said = this.clients.get(client) ?? [];
    let last = said.findLast(one => one.op === 'task-warning' && one.text === text) as
      TaskWarning | undefined;
    if (last === undefined) {
      last = { op: 'task-warning', code, text, cids: [], count: 0 };
      this.toClient(client, last);
    }
    if (last.cids.length < EXAMPLES) last.cids.push(cid);
    last.count++;
  }

  /** Nothing more is said to a peer that is gone. */
  dropWorker(worker: WorkerRecord): void {
    this.workers.delete(worker);
  }
  dropClient(client: ClientRecord): void {
    this.clients.delete(client);
  }

  flush(): Instruction[] {
    const instructions: Instruction[] = [];
    for (const [worker, messages] of this.workers) {
      for (const message of messages)
        instructions.push({ to: 'worker', worker: worker.id, message });
    }
    for (const [client, messages] of this.clients) {
      for (const message of messages)
        instructions.push({ to: 'client', client: client.id, message });
    }
    this.workers.clear();
    this.clients.clear();
    return instructions;
  }
}

function emptyCompute(stimulus: string): ComputeTasks {
  return {
    op: 'compute-tasks',
    stimulus,
    tids: [],
    keys: [],
    runIds: [],
    fns: [],
    args: [],
    priorities: [],
    owners: [],
    durations: [],
    wanted: [],
    depOffsets: [0],
    deps: [],
    depKeys: [],
    depNbytes: [],
    depHolders: []
  };
}

/** The optional columns exist only when a task of the batch needs them. */
function addDemands(message: ComputeTasks, task: Task): void {
  const { timeout, resources, owner } = task.demands;
  const earlier = message.tids.length - 1;
  if (owner.weight !== 1 && message.weights === undefined)
    message.weights = Array<number>(earlier).fill(1);
  message.weights?.push(owner.weight);
  if (timeout > 0 && message.timeouts === undefined)
    message.timeouts = Array<number>(earlier).fill(0);
  message.timeouts?.push(timeout);
  if (resources !== null && message.resources === undefined) {
    message.resources = Array<Record<string, number> | null>(earlier).fill(null);
  }
  message.resources?.push(resources);
}
