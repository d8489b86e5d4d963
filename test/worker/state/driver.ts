/**
 * A worker's state with its doors open: short ways to make events, and the instructions that came
 * out, without the parts a test does not speak about. Validates after every event.
 */
import { WorkerState } from '../../../src/worker/state/state.ts';
import type {
  Instruction,
  WorkerEvent,
  WorkerStateOptions
} from '../../../src/worker/state/state.ts';
import type { ComputeTasks, WorkerToScheduler } from '../../../src/protocol/messages.ts';

export interface TaskOf {
  tid: number;
  run?: number;
  deps?: { tid: number; holders: number[]; nbytes?: number }[];
  priority?: [number, number, number];
  duration?: number;
  timeout?: number;
  resources?: Record<string, number> | null;
  fn?: number;
}

/** A compute-tasks message. */
export function compute(...tasks: TaskOf[]): ComputeTasks {
  const message: ComputeTasks = {
    op: 'compute-tasks',
    stimulus: 'test',
    tids: [],
    keys: [],
    runIds: [],
    fns: [],
    args: [],
    priorities: [],
    durations: [],
    wanted: [],
    depOffsets: [0],
    deps: [],
    depKeys: [],
    depNbytes: [],
    depHolders: [],
    timeouts: [],
    resources: []
  };
  for (const task of tasks) {
    message.tids.push(task.tid);
    message.keys.push(`k${task.tid}`);
    message.runIds.push(task.run ?? 1);
    message.fns.push(task.fn ?? 1);
    message.args.push(new Uint8Array(1));
    message.priorities.push(...(task.priority ?? [0, 1, task.tid]));
    message.durations.push(task.duration ?? 500);
    message.wanted.push(0);
    for (const dep of task.deps ?? []) {
      message.deps.push(dep.tid);
      message.depKeys.push(`k${dep.tid}`);
      message.depNbytes.push(dep.nbytes ?? 10);
      message.depHolders.push(dep.holders);
    }
    message.depOffsets.push(message.deps.length);
    message.timeouts?.push(task.timeout ?? 0);
    message.resources?.push(task.resources ?? null);
  }
  return message;
}

export function free(...tids: number[]): WorkerEvent {
  return { op: 'free-keys', stimulus: 'test', tids };
}

export function success(tid: number, runId = 1, duration = 10): WorkerEvent {
  return {
    op: 'execute-success',
    tids: [tid],
    runIds: [runId],
    nbytes: [100],
    types: ['number'],
    lanes: [0],
    starts: [1000],
    durations: [duration],
    inline: [null]
  };
}

export function failure(tid: number, runId = 1): WorkerEvent {
  const error = {
    code: 'TASK_ERRED',
    message: 'Error: no',
    traceback: '',
    exception: null,
    blame: `k${tid}`,
    worker: ''
  };
  return { op: 'execute-failure', tid, runId, error, lane: 0, start: 1000, duration: 1 };
}

export function gathered(worker: number, ...tids: number[]): WorkerEvent {
  return {
    op: 'gather-success',
    worker,
    tids,
    nbytes: tids.map(() => 10),
    types: tids.map(() => 'number')
  };
}

/** A worker number 0 with peers 1, 2 (own host) and 3 (another host). */
export class Driver {
  readonly state: WorkerState;
  now = 1_000_000;

  constructor(options: Partial<WorkerStateOptions> = {}) {
    this.state = new WorkerState({
      worker: 0,
      address: 'http://127.0.0.1:1',
      host: 'here',
      nthreads: 1,
      memoryLimit: 0,
      ...options
    });
    this.do({
      op: 'workers',
      added: [
        { worker: 1, address: 'http://127.0.0.1:2', host: 'here' },
        { worker: 2, address: 'http://127.0.0.1:3', host: 'here' },
        { worker: 3, address: 'http://127.0.0.1:4', host: 'there' }
      ],
      removed: []
    });
  }

  do(...events: WorkerEvent[]): Instruction[] {
    const all: Instruction[] = [];
    for (const event of events) {
      all.push(...this.state.handle(event, this.now));
      this.state.validate();
    }
    return all;
  }

  /** Instructions as short lines: `execute 1`, `gather 2: 5,6`, `tasks-finished 1`. */
  lines(...events: WorkerEvent[]): string[] {
    return this.do(...events).map(describe);
  }

  stateOf(tid: number): string {
    const task = this.state.get(tid);
    if (task === undefined) return 'forgotten';
    if (task.state === 'cancelled') return `cancelled(${task.previous})`;
    if (task.state === 'resumed') return `resumed(${task.previous} > ${task.next})`;
    return task.state;
  }
}

function describe(instruction: Instruction): string {
  switch (instruction.op) {
    case 'execute':
      return `execute ${instruction.tid}`;
    case 'kill-execution':
      return `kill ${instruction.tid}`;
    case 'gather':
      return `gather ${instruction.worker}: ${instruction.tids.join()}`;
    case 'retry-busy':
      return `retry ${instruction.worker} after ${instruction.after}`;
    case 'drop-data':
      return `drop ${instruction.tids.join()}`;
    case 'recall-executions':
      return `recall ${instruction.tids.join()}`;
    case 'send':
      return describeMessage(instruction.message);
  }
}

function describeMessage(message: WorkerToScheduler): string {
  if ('tids' in message) {
    const from = 'worker' in message ? ` of ${message.worker}` : '';
    const runs = 'runIds' in message ? ` run ${message.runIds.join()}` : '';
    return `${message.op} ${message.tids.join()}${runs}${from}`;
  }
  if (message.op === 'task-erred') return `task-erred ${message.tid} ${message.error.code}`;
  if ('tid' in message) return `${message.op} ${message.tid}`;
  if (message.op === 'worker-status-change') return message.status;
  return message.op;
}
