/** `taskloom scheduler`: a scheduler without workers, in this process or supervised below it. */
import { resolve } from 'node:path';
import { createToken } from '../comm/server.ts';
import { parseDuration } from '../config/duration.ts';
import type { ClusterSetup } from '../config/process-messages.ts';
import { createClusterId } from '../deploy/local.ts';
import { schedulingNumbers, schedulingSetup } from '../deploy/scheduling.ts';
import { Log } from '../diagnostics/log.ts';
import { clusterOfJournal } from '../scheduler/journal/journal.ts';
import { Scheduler } from '../scheduler/scheduler.ts';
import { toStderr } from './failure.ts';
import { runToEnd } from './foreground.ts';
import type { Running } from './foreground.ts';
import { schedulingOptions } from './arguments.ts';
import type { SchedulingFlags } from './arguments.ts';

interface Options extends SchedulingFlags {
  name?: string;
  host: string;
  port: number;
  insecure?: boolean;
  idleTimeout?: string;
  workerTtl?: string;
  supervise?: boolean;
  journal?: string;
}

/** Serves until it is ended. */
export async function runScheduler(options: Options): Promise<void> {
  const journal = options.journal === undefined ? undefined : resolve(options.journal);
  // Who knew the cluster of this journal shall know it again.
  const before = journal === undefined ? null : clusterOfJournal(journal);
  const id = before?.id ?? createClusterId('manual');
  const given = process.env['TASKLOOM_TOKEN'];
  const cluster: ClusterSetup = {
    id,
    name: options.name ?? before?.name ?? id,
    kind: 'manual',
    host: options.host,
    port: options.port,
    token: given === undefined || given === '' ? createToken() : given,
    insecure: options.insecure === true,
    ...timesOf(options),
    ...(journal === undefined ? {} : { journal }),
    scheduling: schedulingSetup(schedulingOptions(options)),
    madeBy: { kind: 'cli', label: 'taskloom scheduler' }
  };
  if (options.supervise === true) return runToEnd(await supervised(cluster));
  const scheduler = await Scheduler.start({
    ...cluster,
    ...schedulingNumbers(cluster.scheduling),
    connectionFile: true,
    log: new Log('scheduler', toStderr)
  });
  announce(cluster.name, scheduler.address);
  await runToEnd(scheduler);
}

function announce(name: string, address: string): void {
  process.stdout.write(
    `Scheduler ${name} at ${address}\n` +
      `  workers:  taskloom worker ${name}\n` +
      `  clients:  await Client.connect(${JSON.stringify(name)})\n`
  );
}

/** As a child that is started again when it dies; resolves when it serves. */
async function supervised(cluster: ClusterSetup): Promise<Running> {
  const { SchedulerProcess } = await import('../nanny/scheduler-process.ts');
  let asked: string | null = null;
  return new Promise(serves => {
    const finished = new Promise<string>(ended => {
      const child = new SchedulerProcess({
        cluster,
        onReady: (address, again) => {
          if (again) return;
          announce(cluster.name, address);
          serves(running);
        },
        onLine: toStderr,
        onLog: toStderr,
        onEnded: reason => {
          serves(running);
          ended(reason);
        }
      });
      const running: Running = {
        get finished() {
          return finished;
        },
        close: async reason => {
          asked ??= reason;
          child.close(reason);
          await child.ended;
          ended(asked);
        }
      };
    });
  });
}

function timesOf({ idleTimeout, workerTtl }: Options): {
  idleTimeout?: number;
  workerTtl?: number;
} {
  return {
    ...(idleTimeout === undefined ? {} : { idleTimeout: parseDuration(idleTimeout) }),
    ...(workerTtl === undefined ? {} : { workerTtl: parseDuration(workerTtl) })
  };
}
