/**
 * The processes of a cluster, as a nanny or a local cluster starts them: setup by standard input,
 * reports back, and an end as soon as the parent is gone. The code of the role loads while the
 * setup is on its way.
 */
import { readSupervisor } from '../config/supervised.ts';
import type { Supervisor } from '../config/supervised.ts';
import type { ProcessSetup } from '../config/process-messages.ts';
import { Log } from '../diagnostics/log.ts';
import { messageOf, toStderr } from './failure.ts';

/** ms for an orderly end when the parent has gone; then the process just ends. */
const ORPHAN_GRACE_MS = 1000;

/** Runs a role until it ends; ends the process. */
export async function runSupervised(role: string): Promise<void> {
  // Ctrl-C in the terminal reaches the whole group; our parent decides what it means for us.
  process.on('SIGINT', () => undefined);
  // A parent that is gone reads no output any more; our input says so, too.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  if (role === 'worker') await runWorker();
  else if (role === 'scheduler') await runScheduler();
  else if (role === 'nanny') await runNanny();
  else throw new Error(`No role ${role} can be supervised.`);
}

async function runScheduler(): Promise<void> {
  const loading = import('../scheduler/scheduler.ts');
  const supervisor = await readSupervisor('scheduler');
  reportCrashes(supervisor);
  const { cluster } = supervisor.setup;
  const { Scheduler } = await loading;
  const scheduler = await orFail(
    supervisor,
    Scheduler.start({ ...cluster, connectionFile: true, log: new Log('scheduler', toStderr) })
  );
  supervisor.report({ op: 'ready', address: scheduler.address });
  liveUntilClosed(supervisor, scheduler);
}

async function runWorker(): Promise<void> {
  const loading = import('../worker/worker.ts');
  const supervisor = await readSupervisor('worker');
  reportCrashes(supervisor);
  const { name, token, nanny, shape } = supervisor.setup;
  // Before the worker is there, the end of our parent or an order to close ends us at once.
  supervisor.onParentGone(() => process.exit(1));
  const schedulerAddress = await new Promise<string>(resolve => {
    supervisor.onOrder(order => {
      if (order.op === 'scheduler') resolve(order.address);
      else process.exit(0);
    });
  });
  const { Worker } = await loading;
  const worker = await orFail(
    supervisor,
    Worker.start({
      schedulerAddress,
      token,
      name,
      nanny,
      nthreads: shape.threads,
      memoryLimit: shape.memoryLimit,
      host: shape.host,
      insecure: shape.insecure,
      resources: shape.resources,
      root: shape.root,
      onLog: toStderr
    })
  );
  supervisor.report({ op: 'ready', address: worker.address });
  liveUntilClosed(supervisor, worker);
}

async function runNanny(): Promise<void> {
  const loading = import('../nanny/nanny.ts');
  const supervisor = await readSupervisor('nanny');
  reportCrashes(supervisor);
  const { cluster, workers, shape, lease } = supervisor.setup;
  const { Nanny } = await loading;
  const { createNannyId } = await import('../nanny/link.ts');
  const nanny = Nanny.create({
    id: createNannyId(),
    token: cluster.token,
    cluster,
    workers,
    shape,
    onLog: toStderr
  });
  if (lease) {
    supervisor.onParentGone(() => void nanny.close('the process that made it has ended'));
  }
  closeOnOrder(supervisor, nanny);
  closeOnSignal(supervisor, nanny);
  void nanny.finished.then(reason => {
    supervisor.report({ op: 'finished', reason });
    process.exit(0);
  });
  // When it ends instead, `finished` above says why.
  await nanny.running().then(
    () => supervisor.report({ op: 'ready', address: nanny.address }),
    () => undefined
  );
}

/** A role that runs, whatever it is. */
interface Running {
  readonly finished: Promise<string>;
  close(reason: string): Promise<void>;
}

function liveUntilClosed(supervisor: Supervisor<ProcessSetup>, running: Running): void {
  closeOnOrder(supervisor, running);
  closeOnSignal(supervisor, running);
  supervisor.onParentGone(() => {
    setTimeout(() => process.exit(1), ORPHAN_GRACE_MS).unref();
    void running.close('its nanny has ended');
  });
  void running.finished.then(reason => {
    supervisor.report({ op: 'finished', reason });
    process.exit(0);
  });
}

function closeOnOrder(supervisor: Supervisor<ProcessSetup>, running: Running): void {
  supervisor.onOrder(order => {
    if (order.op === 'close') void running.close(order.reason);
  });
}

function closeOnSignal(supervisor: Supervisor<ProcessSetup>, running: Running): void {
  process.once('SIGTERM', () => {
    process.once('SIGTERM', () => process.exit(143));
    void running.close('ended by SIGTERM').then(() => {
      supervisor.report({ op: 'finished', reason: 'ended by SIGTERM' });
      process.exit(143);
    });
  });
}

/** Tells the parent why there is no role, then ends the process. */
async function orFail<Result>(
  supervisor: Supervisor<ProcessSetup>,
  starting: Promise<Result>
): Promise<Result> {
  try {
    return await starting;
  } catch (error) {
    const code = (error as { code?: string }).code ?? 'INTERNAL';
    supervisor.report({ op: 'failed', code, message: messageOf(error) });
    process.exit(1);
  }
}

/** A failed assertion must not leave half a process behind; the nanny starts a new one. */
function reportCrashes(supervisor: Supervisor<ProcessSetup>): void {
  const crash = (error: unknown): void => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`${text}\n`);
    supervisor.report({
      op: 'failed',
      code: 'CRASHED',
      message: `it crashed: ${messageOf(error)}`
    });
    process.exit(1);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
}
