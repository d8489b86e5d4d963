/**
 * Every error a user can meet. One class per cause, a stable `code`, a message that says what
 * happened, to which key, worker or cluster, and what to do next.
 *
 * `instanceof` works through a registered symbol, so an error made by one copy of this package
 * (a bundle, a worker thread, a notebook) is recognised by another copy.
 */

const BRAND = Symbol.for('taskloom.error');

/** Fields an error carries over the wire, besides its code and message. */
export interface ErrorDetails {
  cause?: unknown;
  /** The remote traceback, already formatted, user's lines first. */
  remoteStack?: string;
}

export class TaskloomError extends Error {
  readonly code: string;
  override readonly name: string = 'TaskloomError';

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    Object.defineProperty(this, BRAND, { value: brandsOf(new.target), enumerable: false });
  }

  static override [Symbol.hasInstance](this: { name: string }, value: unknown): boolean {
    if (typeof value !== 'object' || value === null) return false;
    const brands = (value as { [BRAND]?: readonly string[] })[BRAND];
    return brands !== undefined && brands.includes(this.name);
  }
}

function brandsOf(start: { name: string }): readonly string[] {
  const names: string[] = [];
  let type: { name: string } | null = start;
  while (type !== null && type.name !== 'Error' && type.name !== '') {
    names.push(type.name);
    type = Object.getPrototypeOf(type) as { name: string } | null;
  }
  return names;
}

/** A task's own exception came back: `cause` is the user's error as it was thrown. */
export class TaskError extends TaskloomError {
  override readonly name = 'TaskError';
  readonly key: string;
  constructor(key: string, message: string, details: ErrorDetails & { code?: string } = {}) {
    super(details.code ?? 'TASK_ERRED', message, details);
    this.key = key;
  }
}

/** Workers died `allowed-failures` + 1 times while they executed this task. */
export class KilledWorkerError extends TaskloomError {
  override readonly name = 'KilledWorkerError';
  readonly key: string;
  constructor(key: string, message: string) {
    super('KILLED_WORKER', message);
    this.key = key;
  }
}

/** The future was cancelled, by its user or because what it stood on is gone. */
export class CancelledError extends TaskloomError {
  override readonly name = 'CancelledError';
  readonly key: string;
  readonly reason: string;
  constructor(key: string, reason: string) {
    super('CANCELLED', `Future ${key} was cancelled: ${reason}.`);
    this.key = key;
    this.reason = reason;
  }
}

/** A wait ended before what it waited for came. */
export class TimeoutError extends TaskloomError {
  override readonly name = 'TimeoutError';
  constructor(message: string) {
    super('TIMEOUT', message);
  }
}

/** A running task passed its `timeout` and was killed. */
export class TaskTimeoutError extends TaskloomError {
  override readonly name = 'TaskTimeoutError';
  readonly key: string;
  constructor(key: string, message: string) {
    super('TASK_TIMEOUT', message);
    this.key = key;
  }
}

/** The other side of a link is gone. */
export class CommClosedError extends TaskloomError {
  override readonly name = 'CommClosedError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('COMM_CLOSED', message, details);
  }
}

/** Token missing or wrong. */
export class AuthenticationError extends TaskloomError {
  override readonly name = 'AuthenticationError';
  constructor(address: string) {
    super(
      'UNAUTHENTICATED',
      `${address} refused the token. Use the token of this cluster's connection file ` +
        `(taskloom cluster dashboard NAME prints it in a link), or connect by the cluster's name.`
    );
  }
}

/** Two sides speak different versions of the wire protocol. */
export class ProtocolVersionError extends TaskloomError {
  override readonly name = 'ProtocolVersionError';
  constructor(ours: number, theirs: number, peer: string) {
    super(
      'PROTOCOL_VERSION',
      `${peer} speaks Taskloom protocol ${theirs}, this process speaks ${ours}. ` +
        `Install the same taskloom version on both sides.`
    );
  }
}

/** Processes of one cluster run versions of taskloom that do not go together. */
export class VersionMismatchError extends TaskloomError {
  override readonly name = 'VersionMismatchError';
  constructor(message: string) {
    super('VERSION_MISMATCH', message);
  }
}

/** A frame or message that the protocol does not allow. */
export class ProtocolError extends TaskloomError {
  override readonly name = 'ProtocolError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('PROTOCOL', message, details);
  }
}

/** A function or value cannot be shipped to a worker. */
export class SerializationError extends TaskloomError {
  override readonly name = 'SerializationError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('SERIALIZATION', message, details);
  }
}

/** Scattered data, or a result nobody can compute again, died with its last holder. */
export class LostDataError extends TaskloomError {
  override readonly name = 'LostDataError';
  readonly key: string;
  constructor(key: string, message: string) {
    super('LOST_DATA', message);
    this.key = key;
  }
}

/** A result or input does not fit the memory of any worker that could hold it. */
export class WorkerMemoryError extends TaskloomError {
  override readonly name = 'WorkerMemoryError';
  readonly key: string;
  constructor(key: string, message: string) {
    super('WORKER_MEMORY', message);
    this.key = key;
  }
}

/** No worker may run the task (restrictions, resources), or none exists at all. */
export class NoValidWorkerError extends TaskloomError {
  override readonly name = 'NoValidWorkerError';
  readonly key: string;
  constructor(key: string, message: string) {
    super('NO_VALID_WORKER', message);
    this.key = key;
  }
}

/** A setting, option or command line argument that cannot be used. */
export class ConfigError extends TaskloomError {
  override readonly name = 'ConfigError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('CONFIG', message, details);
  }
}

/** A process of a cluster did not start, or ended when it should not. */
export class ClusterError extends TaskloomError {
  override readonly name = 'ClusterError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('CLUSTER', message, details);
  }
}

/** A state asked for a transition that its table does not allow: a defect of ours. */
export class InvalidTransitionError extends TaskloomError {
  override readonly name = 'InvalidTransitionError';
  constructor(key: string, start: string, finish: string, story: readonly string[]) {
    super(
      'INVALID_TRANSITION',
      `No transition ${start} -> ${finish} for ${key}. Its story:\n${story.join('\n')}`
    );
  }
}

/** Thrown by a task: run me again, here or somewhere else. */
export class Reschedule extends TaskloomError {
  override readonly name = 'Reschedule';
  constructor(message = 'The task asked to be run again.') {
    super('RESCHEDULE', message);
  }
}
