/**
 * Many workers in one process, each on a link of its own to a real scheduler: they register, send
 * heartbeats, and answer every task the moment it arrives. What is left to measure is the scheduler.
 * `node crowd.ts ADDRESS COUNT`, token in TASKLOOM_TOKEN; prints `ready` and lives until its
 * standard input ends.
 */
import { hostname } from 'node:os';
import { dial } from '../../src/comm/link.ts';
import type { Connection } from '../../src/comm/connection.ts';
import { packageVersion } from '../../src/config/runtime.ts';
import { PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import type {
  ComputeTasks,
  SchedulerToWorker,
  TasksFinished,
  WorkerToScheduler
} from '../../src/protocol/messages.ts';
import { packFrames, serializeValue } from '../../src/serialize/value.ts';

const [address = '', count = '500'] = process.argv.slice(2);
const token = process.env['TASKLOOM_TOKEN'] ?? '';
const none = packFrames(serializeValue(0));

const METRICS = {
  cpu: 0.5,
  rss: 1e8,
  managed: 1e6,
  spilled: 0,
  executing: 0,
  ready: 0,
  inMemory: 0,
  netIn: 0,
  netOut: 0,
  loopDelay: 0,
  bandwidth: 0
};

/** All of a batch is done at once, in no time. */
function finished(tasks: ComputeTasks): TasksFinished {
  const { tids, runIds } = tasks;
  const now = Date.now();
  return {
    op: 'tasks-finished',
    tids,
    runIds,
    nbytes: tids.map(() => 8),
    types: tids.map(() => 'number'),
    lanes: tids.map(() => 0),
    starts: tids.map(() => now),
    durations: tids.map(() => 0.01),
    inline: tids.map((_, i) => (tasks.wanted[i] === 1 ? none : null))
  };
}

async function join(index: number): Promise<void> {
  let greeted: () => void = () => undefined;
  const hello = new Promise<void>(resolve => (greeted = resolve));
  const link: Connection<WorkerToScheduler> = await dial<WorkerToScheduler, SchedulerToWorker>(
    { address, path: '/worker', token },
    {
      onMessages: messages => {
        for (const message of messages) {
          if (message.op === 'compute-tasks') link.send(finished(message));
          else if (message.op === 'hello') {
            greeted();
            const beat = { op: 'heartbeat-worker', executing: [], executingFor: [] } as const;
            const send = (): void => {
              link.send({
                ...beat,
                executing: [],
                executingFor: [],
                now: Date.now(),
                metrics: METRICS
              });
            };
            setInterval(send, message.heartbeat).unref();
          }
        }
      },
      onClose: () => process.exit(0)
    }
  );
  link.send({
    op: 'register-worker',
    protocol: PROTOCOL_VERSION,
    name: `crowd-${index}`,
    address: `http://127.0.0.1:${1 + index}`,
    host: hostname(),
    pid: process.pid,
    nthreads: 1,
    memoryLimit: 0,
    resources: {},
    nanny: '',
    version: packageVersion(),
    epoch: '',
    tids: [],
    keys: [],
    nbytes: [],
    types: [],
    running: []
  });
  await hello;
}

for (let i = 0; i < Number(count); i++) await join(i);
console.log('ready');
process.stdin.on('end', () => process.exit(0)).resume();
