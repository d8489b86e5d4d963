/** `taskloom scheduler`: a scheduler in this process, without workers. */
import { createToken } from '../comm/server.ts';
import { parseDuration } from '../config/duration.ts';
import { createClusterId } from '../deploy/local.ts';
import { schedulingNumbers, schedulingSetup } from '../deploy/scheduling.ts';
import { Log } from '../diagnostics/log.ts';
import { Scheduler } from '../scheduler/scheduler.ts';
import { toStderr } from './failure.ts';
import { runToEnd } from './foreground.ts';
import { schedulingOptions } from './arguments.ts';
import type { SchedulingFlags } from './arguments.ts';

interface Options extends SchedulingFlags {
  name?: string;
  host: string;
  port: number;
  insecure?: boolean;
  idleTimeout?: string;
  workerTtl?: string;
}

/** Serves until it is ended. */
export async function runScheduler(options: Options): Promise<void> {
  const id = createClusterId('manual');
  const given = process.env['TASKLOOM_TOKEN'];
  const scheduler = await Scheduler.start({
    id,
    name: options.name ?? id,
    kind: 'manual',
    host: options.host,
    port: options.port,
    token: given === undefined || given === '' ? createToken() : given,
    insecure: options.insecure === true,
    ...timesOf(options),
    ...schedulingNumbers(schedulingSetup(schedulingOptions(options))),
    madeBy: { kind: 'cli', label: 'taskloom scheduler' },
    connectionFile: true,
    log: new Log('scheduler', toStderr)
  });
  const name = options.name ?? id;
  process.stdout.write(
    `Scheduler ${name} at ${scheduler.address}\n` +
      `  workers:  taskloom worker ${name}\n` +
      `  clients:  await Client.connect(${JSON.stringify(name)})\n`
  );
  await runToEnd(scheduler);
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
