/** `taskloom cluster start`. */
import { resolve } from 'node:path';
import { LocalCluster } from '../deploy/local.ts';
import {
  memoryWishes,
  parseEnvironment,
  parseResources,
  present,
  schedulingOptions
} from './arguments.ts';
import type { MemoryOptions, SchedulingFlags } from './arguments.ts';
import { toStderr } from './failure.ts';
import { runToEnd } from './foreground.ts';

interface Options extends SchedulingFlags, MemoryOptions {
  name?: string;
  workers?: number;
  threads?: number;
  memoryLimit: string;
  host: string;
  port: number;
  insecure?: boolean;
  resources?: string;
  root?: string;
  idleTimeout?: string;
  workerTtl?: string;
  env?: string[];
  lifetime?: string;
  lifetimeStagger?: string;
  lifetimeRestart?: boolean;
  detach?: boolean;
  drainTimeout: string;
  journal?: string;
}

/** Starts a local cluster; in the foreground unless detached. */
export async function startCluster(options: Options): Promise<void> {
  const detach = options.detach === true;
  const cluster = await LocalCluster.create({
    ...present('name', options.name),
    ...present('workers', options.workers),
    ...present('threadsPerWorker', options.threads),
    memoryLimit: options.memoryLimit,
    memory: memoryWishes(options),
    ...present('localDirectory', options.localDirectory),
    ...present('python', options.python),
    ...present('pythonThreads', options.pythonThreads),
    host: options.host,
    port: options.port,
    insecure: options.insecure === true,
    resources: parseResources(options.resources),
    root: resolve(options.root ?? '.'),
    ...present('idleTimeout', options.idleTimeout),
    ...present('workerTtl', options.workerTtl),
    drainTimeout: options.drainTimeout,
    ...present('journal', options.journal),
    ...schedulingOptions(options),
    environment: parseEnvironment(options.env),
    lifetime: options.lifetime,
    lifetimeStagger: options.lifetimeStagger,
    lifetimeRestart: options.lifetimeRestart,
    lease: !detach,
    madeBy: { kind: 'cli', label: 'taskloom cluster start' },
    ...(detach ? {} : { onLog: toStderr })
  });
  const stop = detach ? `taskloom cluster stop ${cluster.name}` : 'Ctrl-C';
  process.stdout.write(
    `Cluster ${cluster.name} at ${cluster.address}\n` +
      `  clients:  await Client.connect(${JSON.stringify(cluster.name)})\n` +
      `  scale:    taskloom cluster scale ${cluster.name} 4\n` +
      `  stop:     ${stop}\n`
  );
  if (!detach) await runToEnd(cluster);
}
