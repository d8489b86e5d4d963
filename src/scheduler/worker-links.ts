/**
 * Links to workers: registration, with what a worker brings along, and the end of a link, which is
 * the end of the worker unless the same process comes back. What its nanny says of its end decides
 * whether its tasks are to blame (exit-reports.ts).
 */
import type { Connection } from '../comm/connection.ts';
import { Requester } from '../comm/rpc.ts';
import type { Wire } from '../comm/wire.ts';
import { CLOSE } from '../protocol/limits.ts';
import type {
  RegisterWorker,
  SchedulerToWorker,
  WorkerExited,
  WorkerToScheduler
} from '../protocol/messages.ts';
import { handshake } from './handshake.ts';
import type { Scheduler } from './scheduler.ts';
import type { Executing } from './state/state.ts';

/**
 * How long values that cannot be computed again are awaited from a worker that nobody saw end: its
 * link broke, or it fell silent behind a network that failed.
 */
const RETURN_MS = 5000;
const RETURN_SILENT_MS = 60_000;
/** How long a nanny may take to restart a worker. */
const RESTART_MS = 60_000;

/** A worker that is connected. */
export interface WorkerLink {
  connection: Connection<SchedulerToWorker>;
  requester: Requester;
  register: RegisterWorker;
  /** Why this side has given it up, or null. */
  givenUp: string | null;
}

/** Takes a wire of a worker. */
export function openWorker(scheduler: Scheduler, wire: Wire, peer: string): void {
  handshake<SchedulerToWorker, WorkerToScheduler, RegisterWorker>(scheduler, wire, peer, {
    op: 'register-worker',
    opened: (connection, first) => {
      const requester = new Requester(message => connection.send(message));
      const link: WorkerLink = { connection, requester, register: first, givenUp: null };
      const id = register(scheduler, link);
      return {
        messages: batch => {
          for (const message of batch) receive(scheduler, id, link, message);
        },
        closed: (linkReason, code) => {
          const reason = link.givenUp ?? linkReason;
          requester.fail(`Worker ${first.name} is gone: ${reason}.`);
          const silent = code === CLOSE.unresponsive;
          // Its process may be there still, holding memory for nobody.
          if (silent && link.givenUp === null) restartSilent(scheduler, first);
          void workerGone(scheduler, id, first, reason, silent);
        }
      };
    }
  });
}

/** Gives up a worker that says nothing any more. */
export function giveUpWorker(scheduler: Scheduler, id: number, reason: string): void {
  const link = scheduler.workers.get(id);
  if (link === undefined) return;
  link.givenUp = reason;
  link.connection.close(CLOSE.unresponsive, reason);
  restartSilent(scheduler, link.register);
}

/** Takes it up as the newest worker; its number. */
function register(scheduler: Scheduler, link: WorkerLink): number {
  const { state, workers, log } = scheduler;
  const { register: first } = link;
  const id = state.nextWorker;
  const before = [...workers].find(([, one]) => sameProcess(one.register, first));
  workers.set(id, link);
  const { epoch, tids, keys, nbytes, types, running } = first;
  const held = { epoch, tids, keys, nbytes, types, running };
  scheduler.apply({ type: 'add-worker', worker: id, facts: first, held });
  if (before !== undefined) replaced(scheduler, before[0], before[1]);
  scheduler.options.onWorkers?.(state.workers.size);
  if (keys.length > 0) {
    const kept = [...(state.workers.get(id)?.hasWhat ?? [])].length;
    log.info(`worker ${first.name} is back with ${kept} of ${keys.length} values`);
  }
  log.info(`worker ${first.name} registered from ${first.address} with ${first.nthreads} threads`);
  return id;
}

function receive(
  scheduler: Scheduler,
  id: number,
  link: WorkerLink,
  message: WorkerToScheduler
): void {
  if (message.op === 'response') link.requester.answer(message);
  else if (message.op === 'close-gracefully') {
    const { reason, timeout, restart } = message;
    void scheduler.scaling.leave([id], reason, timeout, restart);
  } else scheduler.apply({ type: 'worker-message', worker: id, message });
}

/** The same process has registered anew: its link broke, which is no fault of its tasks. */
function replaced(scheduler: Scheduler, id: number, link: WorkerLink): void {
  scheduler.workers.delete(id);
  scheduler.exits.giveUp(link.register);
  link.connection.close(CLOSE.replaced, 'the worker has connected anew');
  const reason = 'its link broke, and it came back';
  scheduler.feed.workerLeft(id, reason);
  scheduler.apply({ type: 'remove-worker', worker: id, reason, expected: true });
}

/** A worker that is there and says nothing is ended, and started anew, by its nanny. */
function restartSilent({ nannies, log }: Scheduler, { name, nanny }: RegisterWorker): void {
  nannies
    .get(nanny)
    ?.requester.request('restart-workers', { names: [name] }, RESTART_MS)
    .catch((error: Error) => log.warn(`worker ${name} is not restarted: ${error.message}`));
}

async function workerGone(
  scheduler: Scheduler,
  id: number,
  register: RegisterWorker,
  linkReason: string,
  silent: boolean
): Promise<void> {
  const { state, workers, log } = scheduler;
  if (!workers.has(id)) return;
  const exit = await scheduler.exits.of(register, scheduler.nannies.has(register.nanny));
  // It may have come back meanwhile.
  if (!workers.has(id)) return;
  const reason = reasonOf(exit, linkReason);
  // Without a nanny's word: one that was leaving ends because it was asked to.
  const worker = state.workers.get(id);
  const leaving = worker !== undefined && state.retirements.has(worker);
  const expected = exit?.expected ?? leaving;
  workers.delete(id);
  if (scheduler.isClosing) return;
  log.add(expected ? 'info' : 'warn', `worker ${register.name} is gone: ${reason}`);
  scheduler.feed.workerLeft(id, exit?.reason ?? linkReason);
  const mayReturn = exit !== null || leaving ? 0 : silent ? RETURN_SILENT_MS : RETURN_MS;
  scheduler.apply({
    type: 'remove-worker',
    worker: id,
    reason,
    expected,
    mayReturn,
    ...executingOf(exit)
  });
  scheduler.options.onWorkers?.(state.workers.size);
}

function reasonOf(exit: WorkerExited | null, linkReason: string): string {
  if (exit === null) return linkReason;
  // Its last words, unless it was only logging that all is well.
  const last = exit.lastLines.findLast(line => !/ (info|debug): /.test(line));
  return exit.reason + (last === undefined ? '' : `; it last said: ${last}`);
}

/** What a worker executed at its end, when its nanny knows. */
function executingOf(exit: WorkerExited | null): { executing?: Executing } {
  if (exit?.tids === undefined || exit.runIds === undefined) return {};
  return { executing: { tids: exit.tids, runIds: exit.runIds } };
}

function sameProcess(a: RegisterWorker, b: RegisterWorker): boolean {
  return a.address === b.address && a.pid === b.pid && a.name === b.name;
}
