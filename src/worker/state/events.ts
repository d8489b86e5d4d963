/**
 * What can happen to a worker, and what its state wants done. Messages of the scheduler are events
 * as they come; the rest is told by the shell. Fields about several tasks are parallel arrays.
 *
 * What the shell owes the state:
 * - every `execute` is answered once by execute-success, execute-failure, execute-reschedule,
 *   execute-returned or execution-killed, with the run id of the instruction;
 * - of a recall, what is not given back (execute-returned) is named by execute-kept;
 * - every `gather` is answered once by a gather event of that peer;
 * - a value is in the store before the event that speaks of it; the state says `drop-data` when it
 *   is not wanted (any more).
 */
import type {
  AcquireReplicas,
  CancelCompute,
  ComputeTasks,
  ErrorRecord,
  ForgetFunctions,
  FreeKeys,
  RefreshWhoHas,
  RemoveReplicas,
  SetWorkerStatus,
  StealRequest,
  WorkersChanged,
  WorkerToScheduler
} from '../../protocol/messages.ts';

/** Executions that ended well; their values are in the store. */
export interface ExecuteSuccess {
  op: 'execute-success';
  tids: number[];
  runIds: number[];
  nbytes: number[];
  types: string[];
  lanes: number[];
  starts: number[];
  durations: number[];
  /** packFrames of the value, for small ones of wanted tasks. */
  inline: (Uint8Array | null)[];
}
export interface ExecuteFailure {
  op: 'execute-failure';
  tid: number;
  runId: number;
  error: ErrorRecord;
  lane: number;
  start: number;
  duration: number;
}
/** The task asked to be run somewhere else. */
export interface ExecuteReschedule {
  op: 'execute-reschedule';
  tid: number;
  runId: number;
}
/** Handed to an executor and not begun there: recalled, or its executor died over another task. */
export interface ExecuteReturned {
  op: 'execute-returned';
  tids: number[];
  runIds: number[];
}
/** Recalled, and not given back: they have begun, or ended meanwhile. */
export interface ExecuteKept {
  op: 'execute-kept';
  tids: number[];
  runIds: number[];
}
/** The executor that ran it was ended because of `kill-execution`. */
export interface ExecutionKilled {
  op: 'execution-killed';
  tid: number;
  runId: number;
}
/** A task with a timeout has begun to run: its time counts from here. */
export interface ExecutionBegan {
  op: 'execution-began';
  tid: number;
  runId: number;
}
/** The task has left its slot and goes on. */
export interface Secede {
  op: 'secede';
  tid: number;
  runId: number;
  duration: number;
}
/** The peer answered; asked-for tids that are not listed are not there. */
export interface GatherSuccess {
  op: 'gather-success';
  worker: number;
  tids: number[];
  nbytes: number[];
  types: string[];
}
/** The peer serves too many others. */
export interface GatherBusy {
  op: 'gather-busy';
  worker: number;
}
/** The peer could not be reached, or its link broke, or it answered nonsense. */
export interface GatherFailure {
  op: 'gather-failure';
  worker: number;
}
export interface RetryBusy {
  op: 'retry-busy';
  worker: number;
}
/** A client put these values here. */
export interface PutData {
  op: 'put-data';
  tids: number[];
  keys: string[];
  nbytes: number[];
  types: string[];
}
/** These were in the store and are no more: their files could not be read back. */
export interface DataLost {
  op: 'data-lost';
  tids: number[];
}
/** Memory is short: start nothing, fetch nothing. */
export interface Pause {
  op: 'pause';
  /** For people. */
  reason?: string;
}
export interface Unpause {
  op: 'unpause';
}
/** Time passes: timeouts and lost dependencies are looked after. */
export interface Tick {
  op: 'tick';
}

export type WorkerEvent =
  | ComputeTasks
  | FreeKeys
  | CancelCompute
  | StealRequest
  | RefreshWhoHas
  | AcquireReplicas
  | RemoveReplicas
  | SetWorkerStatus
  | WorkersChanged
  | ForgetFunctions
  | ExecuteSuccess
  | ExecuteFailure
  | ExecuteReschedule
  | ExecuteReturned
  | ExecuteKept
  | ExecutionKilled
  | ExecutionBegan
  | Secede
  | GatherSuccess
  | GatherBusy
  | GatherFailure
  | RetryBusy
  | PutData
  | DataLost
  | Pause
  | Unpause
  | Tick;

/** Hand the task to an executor. Its function, arguments and dependencies are in its record. */
export interface Execute {
  op: 'execute';
  tid: number;
  runId: number;
}
/** Ask the peer for these values. */
export interface Gather {
  op: 'gather';
  worker: number;
  tids: number[];
  /** What they are expected to weigh together. */
  nbytes: number;
}
/** Tell the state `retry-busy` of this peer after so many ms. */
export interface RetryBusyLater {
  op: 'retry-busy';
  worker: number;
  after: number;
}
/** End this execution, with its executor if it has begun there. */
export interface KillExecution {
  op: 'kill-execution';
  tid: number;
  runId: number;
}
/** Give these back (execute-returned) if they have not begun; the others run on (execute-kept). */
export interface RecallExecutions {
  op: 'recall-executions';
  tids: number[];
  runIds: number[];
}
export interface Send {
  op: 'send';
  message: WorkerToScheduler;
}
/** Remove these values from the store. */
export interface DropData {
  op: 'drop-data';
  tids: number[];
}

export type Instruction =
  Execute | Gather | RetryBusyLater | KillExecution | RecallExecutions | Send | DropData;
