/**
 * What all processes of a cluster have in common that a nanny or a local cluster starts: setup by
 * standard input, reports back, and an end as soon as the parent is gone. The roles themselves are
 * in role/, each an entry of its own bundle: what a process does not need is not loaded, and the
 * start-up of processes is the start-up of a cluster.
 */
import { readSupervisor } from '../config/supervised.ts';
import type { Supervisor } from '../config/supervised.ts';
import type { ProcessSetup } from '../config/process-messages.ts';
import { messageOf } from './failure.ts';

/** ms for an orderly end when the parent has gone; then the process just ends. */
const ORPHAN_GRACE_MS = 1000;

/** Reads the setup; from here on the end of the parent and failures are looked after. */
export async function beSupervised<Role extends ProcessSetup['role']>(
  role: Role
): Promise<Supervisor<Extract<ProcessSetup, { role: Role }>>> {
  // Ctrl-C in the terminal reaches the whole group; our parent decides what it means for us.
  process.on('SIGINT', () => undefined);
  // A parent that is gone reads no output any more; our input says so, too.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  const supervisor = await readSupervisor(role);
  reportCrashes(supervisor);
  return supervisor;
}

/** A role that runs, whatever it is. */
interface Running {
  readonly finished: Promise<string>;
  close(reason: string): Promise<void>;
}

/** Ends in order when told to, by an order, a signal or the end of the parent. */
export function liveUntilClosed(
  supervisor: Supervisor<ProcessSetup>,
  running: Running,
  onTerm = running.close.bind(running)
): void {
  closeOnOrder(supervisor, running);
  closeOnSignal(supervisor, onTerm);
  supervisor.onParentGone(() => {
    setTimeout(() => process.exit(1), ORPHAN_GRACE_MS).unref();
    void running.close('its nanny has ended');
  });
  void running.finished.then(reason => {
    supervisor.report({ op: 'finished', reason });
    process.exit(0);
  });
}

/** The parent orders it. */
export function closeOnOrder(supervisor: Supervisor<ProcessSetup>, running: Running): void {
  supervisor.onOrder(order => {
    if (order.op === 'close') void running.close(order.reason);
  });
}

/** SIGTERM from outside; a second one ends the process at once. */
export function closeOnSignal(
  supervisor: Supervisor<ProcessSetup>,
  close: (reason: string) => Promise<void>
): void {
  process.once('SIGTERM', () => {
    process.once('SIGTERM', () => process.exit(143));
    void close('ended by SIGTERM').then(() => {
      supervisor.report({ op: 'finished', reason: 'ended by SIGTERM' });
      process.exit(143);
    });
  });
}

/** Tells the parent why there is no role, then ends the process. */
export async function orFail<Result>(
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
