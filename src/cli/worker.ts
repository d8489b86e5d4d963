/** `taskloom worker`: workers for a scheduler that runs, below a nanny or alone. */
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { findCluster, listConnectionFiles } from '../config/connection-file.ts';
import { parseDuration } from '../config/duration.ts';
import { localShape } from '../deploy/shape.ts';
import { lifetimeShape } from '../config/lifetime.ts';
import { memoryShape } from '../config/memory.ts';
import { memoryWishes, parseEnvironment, parseResources, present } from './arguments.ts';
import type { MemoryOptions } from './arguments.ts';
import { toStderr, UsageError } from './failure.ts';
import { runToEnd } from './foreground.ts';

interface Options extends MemoryOptions {
  workers?: number;
  threads?: number;
  memoryLimit: string;
  name?: string;
  host: string;
  insecure?: boolean;
  resources?: string;
  root?: string;
  env?: string[];
  lifetime?: string;
  lifetimeStagger?: string;
  lifetimeRestart?: boolean;
  nanny: boolean;
  drainTimeout: string;
}

/** Runs until it is ended or the scheduler is gone. */
export async function runWorker(target: string, options: Options): Promise<void> {
  const access = accessOf(target);
  if (!options.nanny && options.workers !== undefined && options.workers !== 1) {
    throw new UsageError('Without a nanny there is one worker: leave --workers out.');
  }
  if (options.nanny && options.name !== undefined) {
    throw new UsageError('A nanny names its workers itself: use --name with --no-nanny only.');
  }
  if (!options.nanny && options.env !== undefined) {
    throw new UsageError('Without a nanny the worker has this very environment: leave --env out.');
  }
  if (!options.nanny && options.lifetimeRestart === true) {
    throw new UsageError(
      'Nobody starts a worker anew without a nanny: leave --lifetime-restart out.'
    );
  }
  const shape = localShape({
    ...present('workers', options.nanny ? options.workers : 1),
    ...present('threadsPerWorker', options.threads),
    memoryLimit: options.memoryLimit
  });
  const workerShape = {
    threads: shape.threads,
    memoryLimit: shape.memoryLimit,
    memory: memoryShape(memoryWishes(options)),
    localDirectory: options.localDirectory ?? '',
    host: options.host,
    insecure: options.insecure === true,
    resources: parseResources(options.resources),
    root: resolve(options.root ?? '.'),
    ...present('python', options.python),
    ...present('pythonThreads', options.pythonThreads),
    drainTimeout: parseDuration(options.drainTimeout),
    environment: parseEnvironment(options.env),
    ...present('lifetime', lifetimeShape(options))
  };
  if (!options.nanny) {
    const { Worker } = await import('../worker/worker.ts');
    const { threads, drainTimeout, ...rest } = workerShape;
    const name = options.name ?? `${hostname()}-${process.pid}`;
    const worker = await Worker.start({
      schedulerAddress: access.address,
      token: access.token,
      name,
      nthreads: threads,
      onLog: toStderr,
      ...rest
    });
    process.stdout.write(`Worker ${name} at ${worker.address}, for ${access.address}\n`);
    return runToEnd(worker, reason => worker.closeGracefully(reason, drainTimeout));
  }
  const { Nanny } = await import('../nanny/nanny.ts');
  const { createNannyId } = await import('../nanny/link.ts');
  const nanny = await Nanny.start({
    id: createNannyId(),
    schedulerAddress: access.address,
    token: access.token,
    workers: shape.workers,
    shape: workerShape,
    onLog: toStderr
  });
  process.stdout.write(
    `${shape.workers} workers with ${shape.threads} threads each, for ${access.address}\n`
  );
  return runToEnd(nanny, reason => nanny.drain(reason));
}

/** The scheduler's address and token, from its connection file or the environment. */
function accessOf(target: string): { address: string; token: string } {
  const given = process.env['TASKLOOM_TOKEN'];
  if (!/^https?:\/\//.test(target)) return findCluster(target);
  const address = target.replace(/\/+$/, '');
  const file = listConnectionFiles().find(known => known.address === address);
  const token = given === undefined || given === '' ? file?.token : given;
  if (token !== undefined) return { address, token };
  throw new ConfigError(
    `No token for ${address}: none of your connection files is of that address. Put the cluster's ` +
      `token into the environment variable TASKLOOM_TOKEN.`
  );
}
