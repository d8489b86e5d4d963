/**
 * The executor threads of a simulated worker, as src/worker/executor/pool.ts runs them: a lane a
 * thread, tasks queue in lanes, what has not begun can be recalled, an idle lane takes over half of
 * what waits in another, killing a task ends its thread, and a dead thread gives back what waited
 * in it. Inputs are read when a task is handed over.
 */
import type { ErrorRecord } from '../../src/protocol/messages.ts';
import type { WorkerEvent } from '../../src/worker/state/state.ts';
import { decodeBehaviour, packValue, valueOf } from './program.ts';
import type { Behaviour } from './program.ts';
import type { SimStore } from './store.ts';
import type { World } from './world.ts';

/** A task as it is handed to a thread. */
export interface Handed {
  tid: number;
  runId: number;
  key: string;
  args: Uint8Array;
  deps: number[];
  /** Filled in when it is handed over. */
  inputs: number[];
  announce: boolean;
  wanted: boolean;
}

/** What the threads need of their process. */
export interface ExecutorHost {
  readonly world: World;
  readonly alive: boolean;
  /** Ends of executions so far, by key, in the whole cluster. */
  readonly tries: Map<string, { throws: number; reschedules: number; kills: number }>;
  /** How much slower than others this machine is. */
  slowness: number;
  tell(event: WorkerEvent): void;
  readonly store: SimStore;
  put(tid: number, value: number, nbytes: number): void;
  /** The task takes the process down with it. */
  crash(): void;
}

interface Lane {
  queue: Handed[];
  running: Handed | null;
  /** The thread of this number does what it does; a later one has taken its place. */
  thread: number;
  dying: boolean;
}

/** Results of up to so many bytes travel along with messages. */
const INLINE_BYTES = 1000;

export class SimExecutor {
  private readonly host: ExecutorHost;
  private readonly lanes: Lane[];
  private readonly killing = new Set<number>();
  /** Waiting for inputs that are read back from disk. */
  private readonly loading = new Map<number, Handed>();

  constructor(host: ExecutorHost, nthreads: number) {
    this.host = host;
    this.lanes = Array.from({ length: nthreads }, () => ({
      queue: [],
      running: null,
      thread: 0,
      dying: false
    }));
  }

  /** Its worker has another scheduler: nobody hears of what it runs any more. */
  abandon(): void {
    this.loading.clear();
    for (const lane of this.lanes) {
      lane.thread++;
      lane.queue = [];
      lane.running = null;
    }
  }

  /** Tasks whose code runs now. */
  running(): Handed[] {
    return this.lanes.flatMap(lane => lane.running ?? []);
  }

  /** All that was handed over and has not come back. */
  handed(): Handed[] {
    const inLanes = this.lanes.flatMap(({ running, queue }) =>
      running === null ? queue : [running, ...queue]
    );
    return [...this.loading.values(), ...inLanes];
  }

  execute(task: Handed): void {
    const ready = this.host.store.pin(task.deps, () => {
      if (!this.host.alive || this.loading.get(task.tid) !== task) return;
      this.loading.delete(task.tid);
      this.handOver(task);
    });
    if (ready) this.handOver(task);
    else this.loading.set(task.tid, task);
  }

  /** To the lane with the shortest queue; given back when an input is gone. */
  private handOver(task: Handed): void {
    const inputs = task.deps.map(tid => this.host.store.get(tid));
    if (inputs.some(input => input === undefined)) return this.giveBack([task]);
    task.inputs = inputs.map(input => input?.value ?? 0);
    let lane = this.lanes[0] as Lane;
    for (const other of this.lanes) if (load(other) < load(lane)) lane = other;
    lane.queue.push(task);
    this.startNext(lane);
  }

  recall(tids: readonly number[], runIds: readonly number[]): void {
    const back: Handed[] = [];
    const kept = { tids: [] as number[], runIds: [] as number[] };
    tids.forEach((tid, i) => {
      const runId = runIds[i] as number;
      const task = this.unqueue(tid, runId);
      if (task !== null) back.push(task);
      else {
        kept.tids.push(tid);
        kept.runIds.push(runId);
      }
    });
    this.giveBack(back);
    if (kept.tids.length > 0) this.host.tell({ op: 'execute-kept', ...kept });
  }

  kill(tid: number, runId: number): void {
    const { host } = this;
    const waiting = this.unqueue(tid, runId);
    if (waiting !== null) {
      host.store.unpin(waiting.deps);
      host.tell({ op: 'execution-killed', tid, runId });
      return;
    }
    const lane = this.lanes.find(one => one.running?.tid === tid && one.running.runId === runId);
    if (lane === undefined) return;
    this.killing.add(tid);
    if (lane.dying) return;
    lane.dying = true;
    const { thread } = lane;
    host.world.after(host.world.soon(15), () => {
      if (host.alive && lane.thread === thread) this.threadEnds(lane, null);
    });
  }

  private unqueue(tid: number, runId: number): Handed | null {
    const loading = this.loading.get(tid);
    if (loading?.runId === runId) {
      this.loading.delete(tid);
      return loading;
    }
    for (const { queue } of this.lanes) {
      const at = queue.findIndex(task => task.tid === tid && task.runId === runId);
      if (at >= 0) return queue.splice(at, 1)[0] ?? null;
    }
    return null;
  }

  private giveBack(tasks: Handed[]): void {
    if (tasks.length === 0) return;
    const tids = tasks.map(task => task.tid);
    for (const task of tasks) this.host.store.unpin(task.deps);
    this.host.tell({ op: 'execute-returned', tids, runIds: tasks.map(task => task.runId) });
  }

  private startNext(lane: Lane): void {
    if (lane.running !== null) return;
    const task = lane.queue.shift();
    if (task === undefined) return this.balance(lane);
    lane.running = task;
    const { host } = this;
    const { world } = host;
    const behaviour = decodeBehaviour(task.args);
    const start = world.now;
    const takes = behaviour.duration * (0.5 + world.rng.next()) * host.slowness;
    const { thread } = lane;
    const still = (): boolean => host.alive && lane.thread === thread && lane.running === task;
    const { tid, runId } = task;
    if (task.announce) {
      world.after(0.01, () => still() && host.tell({ op: 'execution-began', tid, runId }));
    }
    if (behaviour.secedes) {
      world.after(takes / 2, () => {
        if (still()) host.tell({ op: 'secede', tid, runId, duration: takes / 2 });
      });
    }
    world.after(takes, () => {
      if (still()) this.ends(lane, task, behaviour, start, takes);
    });
  }

  private ends(lane: Lane, task: Handed, behaviour: Behaviour, start: number, took: number): void {
    const { host } = this;
    const { tid, runId, key } = task;
    const tries = host.tries.get(key) ?? { throws: 0, reschedules: 0, kills: 0 };
    host.tries.set(key, tries);
    if (tries.kills < behaviour.kills) {
      tries.kills++;
      return host.crash();
    }
    const times = { lane: this.lanes.indexOf(lane), start, duration: took };
    if (behaviour.exits) return this.threadEnds(lane, failure(task, 'EXECUTOR_DIED', times));
    lane.running = null;
    host.store.unpin(task.deps);
    if (tries.reschedules < behaviour.reschedules) {
      tries.reschedules++;
      host.tell({ op: 'execute-reschedule', tid, runId });
    } else if (tries.throws < behaviour.failures) {
      tries.throws++;
      host.tell(failure(task, 'TASK_ERRED', times));
    } else this.succeeds(task, behaviour, times);
    this.startNext(lane);
  }

  private succeeds(task: Handed, { nbytes }: Behaviour, times: Times): void {
    const value = valueOf(task.key, task.inputs);
    this.host.put(task.tid, value, nbytes);
    this.host.tell({
      op: 'execute-success',
      tids: [task.tid],
      runIds: [task.runId],
      nbytes: [nbytes],
      types: ['number'],
      lanes: [times.lane],
      starts: [times.start],
      durations: [times.duration],
      inline: [task.wanted && nbytes <= INLINE_BYTES ? packValue(value) : null]
    });
  }

  /** By itself (with the failure of what ran) or killed; another thread takes its place. */
  private threadEnds(lane: Lane, ownFault: WorkerEvent | null): void {
    const { running, queue } = lane;
    lane.thread++;
    lane.dying = false;
    lane.running = null;
    lane.queue = [];
    const back = [...queue];
    if (running !== null) {
      const { tid, runId } = running;
      const killed = this.killing.delete(tid);
      if (killed || ownFault !== null) this.host.store.unpin(running.deps);
      if (killed) this.host.tell({ op: 'execution-killed', tid, runId });
      else if (ownFault !== null) this.host.tell(ownFault);
      else back.unshift(running);
    }
    this.giveBack(back);
    this.startNext(lane);
  }

  /** An idle thread takes over half of what waits behind the task of another. */
  private balance(idle: Lane): void {
    let longest: Lane | null = null;
    for (const lane of this.lanes) {
      if (lane !== idle && lane.queue.length > (longest?.queue.length ?? 1)) longest = lane;
    }
    if (longest === null) return;
    const moved = longest.queue.splice(Math.floor(longest.queue.length / 2));
    const lacking = moved.filter(
      task => !task.deps.every(tid => this.host.store.get(tid) !== undefined)
    );
    idle.queue.push(...moved.filter(task => !lacking.includes(task)));
    this.giveBack(lacking);
    if (idle.queue.length > 0) this.startNext(idle);
  }
}

interface Times {
  lane: number;
  start: number;
  duration: number;
}

function load(lane: Lane): number {
  return lane.queue.length + (lane.running === null ? 0 : 1);
}

function failure(task: Handed, code: string, times: Times): WorkerEvent {
  const error: ErrorRecord = {
    code,
    message: `Error: ${task.key}`,
    traceback: '',
    exception: null,
    blame: task.key,
    worker: ''
  };
  return { op: 'execute-failure', tid: task.tid, runId: task.runId, error, ...times };
}
