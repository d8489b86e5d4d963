/**
 * One message at least of every kind on every link: what the test vectors are made of. The types
 * ask for every `op` of each union, so a message without an example does not compile; after a change
 * here, `node test/protocol/generate.ts` writes vectors.json anew.
 */
import type {
  ClientToScheduler,
  ErrorRecord,
  NannyToScheduler,
  SchedulerToClient,
  SchedulerToNanny,
  SchedulerToWorker,
  WorkerToScheduler
} from '../../src/protocol/messages.ts';

/** Examples of every kind of message that a link carries in one direction. */
type Examples<Union extends { op: string }> = {
  [Op in Union['op']]: Extract<Union, { op: Op }>[];
};

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const versions = { taskloom: '0.1.0', protocol: 1, node: '24.1.0', platform: 'linux x64' };
const cluster = { id: 'local-7f3a', name: 'lab', kind: 'local' };
const TIME = 1_790_000_000_123;

const error: ErrorRecord = {
  code: 'TASK_ERRED',
  message: 'Error: kein Glück',
  traceback: 'Error: kein Glück\n    at f (cell 3:1:7)',
  exception: bytes(1, 2, 3),
  blame: 'f-1',
  worker: 'http://127.0.0.1:40001'
};

const metrics = {
  cpu: 97.5,
  rss: 120_000_000,
  managed: 4096,
  spilled: 0,
  executing: 1,
  ready: 2,
  inMemory: 3,
  netIn: 0.5,
  netOut: 0,
  loopDelay: 1.25,
  bandwidth: 0
};

const request = [{ op: 'request' as const, id: 7, method: 'logs', params: { n: 100 } }];
const response = [
  { op: 'response' as const, id: 7, result: ['a line'] },
  { op: 'response' as const, id: 8, error: { code: 'UNKNOWN_METHOD', message: 'No method x.' } }
];

const clientToScheduler: Examples<ClientToScheduler> = {
  'register-client': [
    {
      op: 'register-client',
      protocol: 1,
      client: 'client-1a2b3c4d',
      name: 'notebook',
      version: '0.1.0',
      versions,
      weight: 2
    }
  ],
  'register-function': [
    { op: 'register-function', fn: 1, hash: 'a'.repeat(64), name: 'f', blob: bytes(0, 255, 128) },
    {
      op: 'register-function',
      fn: 2,
      hash: 'b'.repeat(64),
      name: 'g',
      blob: bytes(128, 5),
      language: 'python'
    }
  ],
  'release-functions': [{ op: 'release-functions', fns: [1, 2] }],
  'update-graph': [
    {
      op: 'update-graph',
      first: 1,
      keys: ['f-1', 'g-2'],
      fn: [1, 2],
      args: bytes(10, 20, 30),
      argOffsets: [0, 1, 3],
      deps: [1],
      depOffsets: [0, 0, 1],
      options: {
        priority: -1.5,
        retries: 2,
        timeout: 60,
        workers: ['worker-0'],
        allowOtherWorkers: true,
        resources: { GPU: 1 }
      },
      fifoTimeout: 100,
      wants: 'all'
    },
    {
      op: 'update-graph',
      first: 300,
      keys: ['f-3'],
      fn: 1,
      args: bytes(),
      argOffsets: [0, 0],
      deps: [],
      depOffsets: [],
      options: {
        priority: 0,
        retries: 0,
        timeout: 0,
        workers: null,
        allowOtherWorkers: false,
        resources: null
      },
      fifoTimeout: 0,
      wants: [300],
      order: [0],
      parent: 12,
      again: 'last',
      cids: [300],
      failed: { tasks: [0], which: [0], errors: [error] }
    }
  ],
  'client-desires-keys': [
    { op: 'client-desires-keys', cids: [5], keys: ['elsewhere'], again: 'others' }
  ],
  'client-releases-keys': [{ op: 'client-releases-keys', cids: [1, 70_000] }],
  'cancel-keys': [{ op: 'cancel-keys', cids: [1], keys: ['x'], force: true, reason: 'no more' }],
  'retry-keys': [{ op: 'retry-keys', cids: [1] }],
  scattered: [
    {
      op: 'scattered',
      cids: [9],
      keys: ['Array-9'],
      tids: [40],
      nbytes: [5_000_000_000],
      types: ['Array'],
      workers: [[1, 2]]
    }
  ],
  'fire-and-forget': [{ op: 'fire-and-forget', cids: [1] }],
  'publish-dataset': [{ op: 'publish-dataset', name: 'table', cids: [1], value: bytes(4, 5) }],
  'unpublish-dataset': [{ op: 'unpublish-dataset', name: 'table' }],
  'heartbeat-client': [{ op: 'heartbeat-client' }],
  request
};

const schedulerToClient: Examples<SchedulerToClient> = {
  hello: [{ op: 'hello', protocol: 1, cluster, warning: 'The members differ.', epoch: 'e1' }],
  'key-in-memory': [
    {
      op: 'key-in-memory',
      cids: [1, 2],
      tids: [11, 12],
      nbytes: [1, 2_000_000],
      types: ['number', 'Float64Array'],
      inline: [bytes(1, 0, 0, 0, 7), null]
    }
  ],
  'task-erred': [{ op: 'task-erred', cids: [1, 2], which: [0, 0], errors: [error] }],
  'lost-keys': [{ op: 'lost-keys', cids: [1] }],
  'cancelled-keys': [{ op: 'cancelled-keys', cids: [1], reason: 'its user cancelled it' }],
  'task-warning': [
    {
      op: 'task-warning',
      code: 'NO_VALID_WORKER',
      text: 'No worker may run f-1.',
      cids: [1],
      count: 1
    }
  ],
  closing: [{ op: 'closing', reason: 'closed by its owner' }],
  response
};

const workerToScheduler: Examples<WorkerToScheduler> = {
  'register-worker': [
    {
      op: 'register-worker',
      protocol: 1,
      name: 'worker-0',
      address: 'http://127.0.0.1:40001',
      host: 'node7',
      pid: 4711,
      nthreads: 4,
      memoryLimit: 2_147_483_648,
      resources: { GPU: 2 },
      languages: { python: '3.11.7' },
      nanny: 'nanny-7f3a09c2',
      version: '0.1.0',
      versions,
      epoch: 'e0',
      tids: [11],
      keys: ['f-1'],
      nbytes: [8],
      types: ['number'],
      running: ['g-2']
    }
  ],
  'tasks-finished': [
    {
      op: 'tasks-finished',
      tids: [11],
      runIds: [3],
      nbytes: [8],
      types: ['number'],
      lanes: [0],
      starts: [TIME],
      durations: [0.25],
      inline: [null]
    }
  ],
  'task-erred': [
    { op: 'task-erred', tid: 11, runId: 3, error, lane: 0, start: TIME, duration: 12.5 },
    {
      op: 'task-erred',
      tid: 12,
      runId: 4,
      error: { ...error, exception: null },
      lane: 1,
      start: TIME,
      duration: 0
    }
  ],
  reschedule: [{ op: 'reschedule', tid: 11, runId: 3 }],
  'add-keys': [{ op: 'add-keys', tids: [11], refused: true }],
  'release-worker-data': [{ op: 'release-worker-data', tids: [11] }],
  'missing-data': [{ op: 'missing-data', tids: [11], worker: 2 }],
  'request-refresh-who-has': [{ op: 'request-refresh-who-has', tids: [11] }],
  'long-running': [{ op: 'long-running', tid: 11, runId: 3, duration: 1500 }],
  'steal-response': [{ op: 'steal-response', tids: [11], runIds: [3], states: ['ready'] }],
  'heartbeat-worker': [
    {
      op: 'heartbeat-worker',
      now: TIME,
      metrics,
      executing: [11],
      executingFor: [1234.5],
      trouble: 'its disk is full'
    }
  ],
  'worker-status-change': [
    { op: 'worker-status-change', status: 'paused', reason: 'it uses 85 % of its memory' }
  ],
  'close-gracefully': [
    { op: 'close-gracefully', reason: 'ended by SIGTERM', timeout: 19_000, restart: false }
  ],
  'start-stops': [
    { op: 'start-stops', tids: [11], lanes: [0], kinds: [1], starts: [TIME], durations: [3.5] }
  ],
  response
};

const schedulerToWorker: Examples<SchedulerToWorker> = {
  hello: [
    { op: 'hello', protocol: 1, worker: 1, cluster, heartbeat: 500, epoch: 'e1', adopted: [11, -1] }
  ],
  workers: [
    {
      op: 'workers',
      added: [{ worker: 1, address: 'http://127.0.0.1:40001', host: 'node7' }],
      removed: [2]
    }
  ],
  functions: [
    { op: 'functions', fns: [1], names: ['f'], hashes: ['a'.repeat(64)], blobs: [bytes(0, 255)] },
    {
      op: 'functions',
      fns: [2],
      names: ['g'],
      hashes: ['b'.repeat(64)],
      blobs: [bytes(128, 5)],
      languages: ['python']
    }
  ],
  'forget-functions': [{ op: 'forget-functions', fns: [1] }],
  'compute-tasks': [
    {
      op: 'compute-tasks',
      stimulus: 'update-graph-17',
      tids: [11, 12],
      keys: ['f-1', 'g-2'],
      runIds: [3, 4],
      fns: [1, 2],
      args: [bytes(10), bytes(20, 30)],
      priorities: [0, 1, 0, 1.5, 1, 1],
      owners: [1, 1],
      weights: [1, 1],
      durations: [500, 0.125],
      wanted: [0, 1],
      depOffsets: [0, 0, 1],
      deps: [11],
      depKeys: ['f-1'],
      depNbytes: [8],
      depHolders: [[1]],
      timeouts: [0, 60],
      resources: [null, { GPU: 1 }]
    }
  ],
  'free-keys': [{ op: 'free-keys', stimulus: 's-1', tids: [11] }],
  'cancel-compute': [{ op: 'cancel-compute', stimulus: 's-2', tids: [11], force: false }],
  'steal-request': [{ op: 'steal-request', stimulus: 's-3', tids: [11], runIds: [3] }],
  'refresh-who-has': [
    { op: 'refresh-who-has', stimulus: 's-4', tids: [11, 12], holders: [[1], []] }
  ],
  'acquire-replicas': [
    {
      op: 'acquire-replicas',
      stimulus: 's-5',
      tids: [11],
      keys: ['f-1'],
      nbytes: [8],
      holders: [[1, 2]]
    }
  ],
  'remove-replicas': [{ op: 'remove-replicas', stimulus: 's-6', tids: [11] }],
  'worker-status-change': [
    { op: 'worker-status-change', stimulus: 's-7', status: 'closing-gracefully' }
  ],
  close: [{ op: 'close', reason: 'scaled down' }],
  request
};

const nannyToScheduler: Examples<NannyToScheduler> = {
  'register-nanny': [
    {
      op: 'register-nanny',
      protocol: 1,
      nanny: 'nanny-7f3a09c2',
      host: 'node7',
      pid: 4710,
      version: '0.1.0',
      versions,
      canScale: true
    }
  ],
  'worker-exited': [
    {
      op: 'worker-exited',
      name: 'worker-0',
      pid: 4711,
      reason: 'killed by SIGKILL',
      expected: false,
      lastLines: ['the last words'],
      tids: [11],
      runIds: [3]
    }
  ],
  'nanny-status': [{ op: 'nanny-status', target: 2, starting: 1, reason: null }],
  'close-gracefully': [
    { op: 'close-gracefully', reason: 'ended by SIGTERM', timeout: 19_000, restart: false }
  ],
  response
};

const schedulerToNanny: Examples<SchedulerToNanny> = {
  hello: [{ op: 'hello', protocol: 1, cluster }],
  request: [{ op: 'request', id: 1, method: 'scale', params: { workers: 2, close: ['worker-1'] } }]
};

/** By link and direction, then by op. */
export const EXAMPLES: Record<string, Record<string, { op: string }[]>> = {
  'client to scheduler': clientToScheduler,
  'scheduler to client': schedulerToClient,
  'worker to scheduler': workerToScheduler,
  'scheduler to worker': schedulerToWorker,
  'nanny to scheduler': nannyToScheduler,
  'scheduler to nanny': schedulerToNanny
};

/** Messages of data links: head and frames. */
export const DATA_EXAMPLES = [
  { name: 'get-data', head: { op: 'get-data', tids: [11, 12], id: 1 }, frames: [] },
  {
    name: 'get-data answered',
    head: {
      tids: [11],
      keys: ['f-1'],
      families: ['js'],
      counts: [2],
      types: ['Float64Array'],
      missing: [12],
      id: 1
    },
    frames: [bytes(1, 2, 3), bytes()]
  },
  { name: 'busy', head: { busy: true, id: 2 }, frames: [] },
  {
    name: 'put-data',
    head: {
      op: 'put-data',
      tids: [40],
      keys: ['Array-9'],
      families: ['plain'],
      counts: [1],
      types: ['Array'],
      nbytes: [3],
      id: 3
    },
    frames: [bytes(7, 8, 9)]
  }
];
