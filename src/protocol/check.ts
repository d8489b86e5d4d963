/**
 * What a scheduler checks of every message before it acts on it: the fields are there, have the
 * right type, and parallel columns are of one length. A message that fails closes its link; so a
 * handler may trust its input, and a confused peer cannot stop the scheduler.
 */
import { ProtocolError } from '../base/errors.ts';

type Kind =
  | 'number'
  | 'text'
  | 'flag'
  | 'bytes'
  | 'numbers'
  | 'texts'
  | 'lists of numbers'
  | 'bytes or null, each'
  | 'map';

/** Fields of an op, and which of them are columns of one table. */
interface Shape {
  fields: Record<string, Kind>;
  /** Fields that may be absent. */
  optional?: Record<string, Kind>;
  columns?: string[];
}

const SHAPES: Record<string, Shape> = {
  'register-client': {
    fields: { protocol: 'number', client: 'text', name: 'text' },
    optional: { weight: 'number' }
  },
  'register-function': {
    fields: { fn: 'number', hash: 'text', name: 'text', blob: 'bytes' },
    optional: { language: 'text' }
  },
  'release-functions': { fields: { fns: 'numbers' } },
  // Its columns are checked against each other where the graph is taken in.
  'update-graph': {
    fields: {
      first: 'number',
      keys: 'texts',
      args: 'bytes',
      argOffsets: 'numbers',
      deps: 'numbers',
      depOffsets: 'numbers',
      options: 'map',
      fifoTimeout: 'number'
    }
  },
  'client-desires-keys': { fields: { cids: 'numbers', keys: 'texts' }, columns: ['cids', 'keys'] },
  'client-releases-keys': { fields: { cids: 'numbers' } },
  'cancel-keys': {
    fields: { cids: 'numbers', force: 'flag', reason: 'text' },
    optional: { keys: 'texts' }
  },
  'retry-keys': { fields: { cids: 'numbers' } },
  scattered: {
    fields: {
      cids: 'numbers',
      keys: 'texts',
      tids: 'numbers',
      nbytes: 'numbers',
      types: 'texts',
      workers: 'lists of numbers'
    },
    columns: ['cids', 'keys', 'tids', 'nbytes', 'types', 'workers']
  },
  'fire-and-forget': { fields: { cids: 'numbers' } },
  'publish-dataset': { fields: { name: 'text', cids: 'numbers', value: 'bytes' } },
  'unpublish-dataset': { fields: { name: 'text' } },
  'heartbeat-client': { fields: {} },
  request: { fields: { id: 'number', method: 'text' } },
  response: { fields: { id: 'number' } },
  'register-worker': {
    fields: {
      protocol: 'number',
      name: 'text',
      address: 'text',
      host: 'text',
      pid: 'number',
      nthreads: 'number',
      memoryLimit: 'number',
      resources: 'map',
      nanny: 'text',
      epoch: 'text',
      tids: 'numbers',
      keys: 'texts',
      nbytes: 'numbers',
      types: 'texts',
      running: 'texts'
    },
    optional: { languages: 'map' },
    columns: ['tids', 'keys', 'nbytes', 'types']
  },
  'tasks-finished': {
    fields: {
      tids: 'numbers',
      runIds: 'numbers',
      nbytes: 'numbers',
      types: 'texts',
      lanes: 'numbers',
      starts: 'numbers',
      durations: 'numbers',
      inline: 'bytes or null, each'
    },
    columns: ['tids', 'runIds', 'nbytes', 'types', 'lanes', 'starts', 'durations', 'inline']
  },
  'task-erred': {
    fields: {
      tid: 'number',
      runId: 'number',
      lane: 'number',
      start: 'number',
      duration: 'number',
      error: 'map'
    }
  },
  reschedule: { fields: { tid: 'number', runId: 'number' } },
  'add-keys': { fields: { tids: 'numbers' } },
  'release-worker-data': { fields: { tids: 'numbers' } },
  'missing-data': { fields: { tids: 'numbers', worker: 'number' } },
  'request-refresh-who-has': { fields: { tids: 'numbers' } },
  'long-running': { fields: { tid: 'number', runId: 'number', duration: 'number' } },
  'steal-response': {
    fields: { tids: 'numbers', runIds: 'numbers', states: 'texts' },
    columns: ['tids', 'runIds', 'states']
  },
  'heartbeat-worker': {
    fields: { now: 'number', metrics: 'map', executing: 'numbers', executingFor: 'numbers' },
    optional: { trouble: 'text' },
    columns: ['executing', 'executingFor']
  },
  'worker-status-change': { fields: { status: 'text' }, optional: { reason: 'text' } },
  'close-gracefully': { fields: { reason: 'text', timeout: 'number', restart: 'flag' } },
  'start-stops': {
    fields: {
      tids: 'numbers',
      lanes: 'numbers',
      kinds: 'numbers',
      starts: 'numbers',
      durations: 'numbers'
    },
    columns: ['tids', 'lanes', 'kinds', 'starts', 'durations']
  },
  'register-nanny': {
    fields: { protocol: 'number', nanny: 'text', host: 'text', pid: 'number', canScale: 'flag' }
  },
  'worker-exited': {
    fields: { name: 'text', pid: 'number', reason: 'text', expected: 'flag', lastLines: 'texts' },
    optional: { tids: 'numbers', runIds: 'numbers' }
  },
  'nanny-status': { fields: { target: 'number', starting: 'number' } }
};

/** Throws ProtocolError naming the op and the field. */
export function checkMessage(message: { op: string }): void {
  const shape = Object.hasOwn(SHAPES, message.op) ? SHAPES[message.op] : undefined;
  if (shape === undefined) throw new ProtocolError(`Unknown message ${message.op.slice(0, 50)}.`);
  const fields = message as Record<string, unknown>;
  for (const name in shape.fields) {
    if (!is(fields[name], shape.fields[name] as Kind)) {
      throw new ProtocolError(`${message.op}: field ${name} must be ${shape.fields[name]}.`);
    }
  }
  for (const name in shape.optional) {
    if (fields[name] !== undefined && !is(fields[name], shape.optional[name] as Kind)) {
      throw new ProtocolError(`${message.op}: field ${name} must be ${shape.optional[name]}.`);
    }
  }
  const [first, ...others] = shape.columns ?? [];
  if (first === undefined) return;
  const length = (fields[first] as unknown[]).length;
  for (const other of others) {
    if ((fields[other] as unknown[]).length !== length) {
      throw new ProtocolError(`${message.op}: columns ${first} and ${other} differ in length.`);
    }
  }
}

function is(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case 'number':
      return typeof value === 'number';
    case 'text':
      return typeof value === 'string';
    case 'flag':
      return typeof value === 'boolean';
    case 'bytes':
      return value instanceof Uint8Array;
    case 'map':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    case 'numbers':
      return all(value, one => typeof one === 'number');
    case 'texts':
      return all(value, one => typeof one === 'string');
    case 'lists of numbers':
      return all(value, one => all(one, inner => typeof inner === 'number'));
    case 'bytes or null, each':
      return all(value, one => one === null || one instanceof Uint8Array);
  }
}

function all(value: unknown, test: (one: unknown) => boolean): boolean {
  if (!Array.isArray(value)) return false;
  for (const one of value as unknown[]) if (!test(one)) return false;
  return true;
}
