/**
 * More and fewer workers: asks nannies for them, and lets workers go without losing what they hold
 * (state/retire.ts says when each may be closed; here it is closed). Scaling by hand, adapting to the
 * work, SIGTERM of a worker or a whole host, and `retireWorkers` all end here.
 */
import { ConfigError, TaskloomError } from '../base/errors.ts';
import type { Scheduler } from './scheduler.ts';
import { Adaptive, workersToClose } from './state/adaptive.ts';
import type { AdaptiveOptions } from './state/adaptive.ts';
import type { Retirement, RetireOptions } from './state/retire.ts';
import type { WorkerRecord } from './state/workers.ts';

/** ms between decisions of an adapting cluster. */
const ADAPT_MS = 1000;
/** ms for running tasks to end on a worker that leaves. */
export const RETIRE_MS = 30_000;
/** ms for a nanny to answer. */
const NANNY_MS = 60_000;

/** What became of a worker that was to leave. */
export interface Retired {
  name: string;
  address: string;
  outcome: 'closed' | 'kept' | 'gone';
  /** Values that were lost with it. */
  lost: number;
  /** Why it was kept, or why values were lost; or ''. */
  reason: string;
}

export interface LeaveOptions extends RetireOptions {
  /** Said in logs, and to the worker. */
  reason: string;
  /** `restart`: its nanny starts it again. `leave`: only retire it, somebody else closes it. */
  then: 'close' | 'restart' | 'leave';
}

/** Bounds of an adapting cluster. */
export interface AdaptWish {
  minimum?: number | undefined;
  /** Absent or null: no bound. */
  maximum?: number | null | undefined;
}

export class Scaling {
  private readonly scheduler: Scheduler;
  /** Called after every event, until they say true. */
  private readonly watchers = new Set<() => boolean>();
  private adaptive: Adaptive | null = null;
  private adaptedAt = -Infinity;
  /** Retirements that scaling began: these are the first to stay when more are wanted. */
  private readonly scaledDown = new Set<Retirement>();
  private readonly leaving = new Map<Retirement, LeaveOptions['then']>();

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  /** The state has handled an event. */
  afterEvent(): void {
    if (this.watchers.size === 0) return;
    for (const watcher of [...this.watchers]) if (watcher()) this.watchers.delete(watcher);
  }

  /** Time has passed. */
  tick(now: number): void {
    if (this.adaptive === null || now - this.adaptedAt < ADAPT_MS) return;
    this.adaptedAt = now;
    this.adaptOnce(this.adaptive);
  }

  /** Resolves when `done` says so, looked at after each event; false after `ms`. */
  until(done: () => boolean, ms: number): Promise<boolean> {
    if (done()) return Promise.resolve(true);
    return new Promise(resolve => {
      const watcher = (): boolean => {
        if (!done()) return false;
        clearTimeout(timer);
        resolve(true);
        return true;
      };
      const timer = setTimeout(() => {
        this.watchers.delete(watcher);
        resolve(false);
      }, ms);
      this.watchers.add(watcher);
    });
  }

  // ---------------------------------------------------------------- retiring

  /** Lets workers go; resolves when each is on its way out, or stays after all. */
  async retire(ids: readonly number[], options: LeaveOptions): Promise<Retired[]> {
    const begun = this.begin(ids, options);
    await Promise.all(begun.map(retirement => this.see(retirement, options)));
    return begun.map(retirement => ({
      name: retirement.worker.facts.name,
      address: retirement.worker.facts.address,
      outcome: retirement.outcome === 'ready' ? 'closed' : (retirement.outcome as 'kept' | 'gone'),
      lost: retirement.lost,
      reason: retirement.reason
    }));
  }

  /** Those that are on their way out already are waited for like those that begin now. */
  private begin(ids: readonly number[], { timeout, force }: RetireOptions): Retirement[] {
    const { state } = this.scheduler;
    const known = ids
      .map(id => state.workers.get(id))
      .map(worker => (worker === undefined ? undefined : state.retirements.get(worker)))
      .filter(retirement => retirement !== undefined);
    this.scheduler.apply({ type: 'retire-workers', workers: ids, options: { timeout, force } });
    return [...known, ...state.retirementsBegun];
  }

  /** Waits until it is settled; closes it when it may be closed. */
  private async see(retirement: Retirement, options: LeaveOptions): Promise<void> {
    this.leaving.set(retirement, options.then);
    await new Promise<void>(resolve => {
      const watcher = (): boolean => {
        if (retirement.outcome === 'moving') return false;
        // In the same turn: nothing may come to depend on it meanwhile.
        if (retirement.outcome === 'ready') this.close(retirement, options);
        this.leaving.delete(retirement);
        resolve();
        return true;
      };
      if (!watcher()) this.watchers.add(watcher);
    });
    const { worker, outcome, reason, lost } = retirement;
    const { log } = this.scheduler;
    const { name } = worker.facts;
    if (outcome === 'kept') log.warn(`worker ${name} is kept: ${reason}`);
    else if (lost > 0) log.warn(`worker ${name} leaves (${options.reason}): ${reason}`);
  }

  private close({ worker }: Retirement, { reason, then }: LeaveOptions): void {
    if (then === 'leave') return;
    const { workers, nannies, log } = this.scheduler;
    const { name, nanny } = worker.facts;
    const link = workers.get(worker.id);
    const tell = (): void => link?.connection.send({ op: 'close', reason });
    const watched = nannies.get(nanny);
    log.info(`worker ${name} has nothing left to lose and is closed: ${reason}`);
    if (watched === undefined) return tell();
    const method = then === 'restart' ? 'restart-workers' : 'close-workers';
    watched.requester.request(method, { names: [name], reason }, NANNY_MS).catch(tell);
  }

  /** A worker's process is to end, in order, within its time. */
  leave(
    ids: readonly number[],
    reason: string,
    timeout: number,
    restart: boolean
  ): Promise<Retired[]> {
    return this.retire(ids, {
      timeout,
      force: true,
      reason,
      then: restart ? 'restart' : 'close'
    });
  }

  /** All workers of a nanny whose process is to end; then the nanny is told to end. */
  async leaveHost(nanny: string, reason: string, timeout: number): Promise<void> {
    const { state, nannies, log } = this.scheduler;
    const ids = [...state.workers.values()].filter(one => one.facts.nanny === nanny);
    const options = { timeout, force: true, reason, then: 'leave' as const };
    await this.retire(
      ids.map(worker => worker.id),
      options
    );
    log.info(`nanny ${nanny} may end: ${reason}`);
    await nannies
      .get(nanny)
      ?.requester.request('close', { reason }, NANNY_MS)
      .catch(() => undefined);
  }

  // ---------------------------------------------------------------- numbers

  /** So many workers, by hand: the cluster adapts no more. */
  async scale(workers: unknown): Promise<void> {
    if (
      typeof workers !== 'number' ||
      !Number.isInteger(workers) ||
      workers < 0 ||
      workers > 10_000
    ) {
      throw new ConfigError(
        `Scale to a whole number of workers from 0 to 10000, not ${JSON.stringify(workers)}.`
      );
    }
    this.mustScale();
    if (this.adaptive !== null) {
      this.scheduler.log.info('it is scaled by hand and adapts no more');
      this.adaptive = null;
    }
    await this.resize(workers, null, 'scaled down');
  }

  /** Workers there and asked for, without those that leave. */
  private planned(): number {
    const { nannies } = this.scheduler;
    let target = 0;
    let starting = 0;
    for (const { status, register } of nannies.values()) {
      if (!register.canScale) continue;
      target += status?.target ?? 0;
      starting += status?.starting ?? 0;
    }
    const coming = starting + this.count('restart');
    return Math.max(this.running() + coming, target - this.count('close'));
  }

  /** Workers of scaling nannies that are on their way out, by what follows. */
  private count(then: LeaveOptions['then']): number {
    const { nannies } = this.scheduler;
    let count = 0;
    for (const [{ worker }, what] of this.leaving) {
      if (what === then && nannies.get(worker.facts.nanny)?.register.canScale === true) count++;
    }
    return count;
  }

  private running(): number {
    const { state } = this.scheduler;
    return state.workers.size - state.retirements.size;
  }

  /** Calls off what has not come, lets go of running ones (`close`, or the best), or asks for more. */
  private async resize(
    workers: number,
    close: readonly WorkerRecord[] | null,
    reason: string
  ): Promise<void> {
    const { state } = this.scheduler;
    this.keepSome(workers - this.running());
    const excess = this.running() - workers;
    const chosen = close ?? (excess > 0 ? workersToClose(state, { count: excess }) : []);
    // Those that leave are taken from the nanny's number one by one, when they are ready.
    const total = workers + chosen.length + this.count('close');
    const retirements = this.begin(
      chosen.map(worker => worker.id),
      { timeout: RETIRE_MS, force: workers === 0 }
    );
    await this.askNannies('scale', { workers: total, close: [] });
    const options = { timeout: RETIRE_MS, force: workers === 0, reason, then: 'close' as const };
    for (const retirement of retirements) {
      this.scaledDown.add(retirement);
      void this.see(retirement, options).then(() => this.scaledDown.delete(retirement));
    }
  }

  /** More are wanted: whoever is on the way out for lack of work comes back first. */
  private keepSome(count: number): void {
    const moving = [...this.scaledDown].filter(one => one.outcome === 'moving');
    const kept = moving.slice(0, Math.max(0, count)).map(one => one.worker.id);
    if (kept.length === 0) return;
    this.scheduler.apply({ type: 'keep-workers', workers: kept, reason: 'more are wanted again' });
  }

  private mustScale(): void {
    const { nannies, options } = this.scheduler;
    if ([...nannies.values()].some(nanny => nanny.register.canScale)) return;
    throw new TaskloomError(
      'CANNOT_SCALE',
      `Cluster ${options.name} has no nanny that starts workers. Start them yourself with ` +
        `"taskloom worker ${options.name}".`
    );
  }

  /** Asks every nanny that may start workers of its own. */
  async askNannies(method: string, params: unknown): Promise<void> {
    this.mustScale();
    const able = [...this.scheduler.nannies.values()].filter(nanny => nanny.register.canScale);
    await Promise.all(able.map(nanny => nanny.requester.request(method, params, NANNY_MS)));
  }

  // ---------------------------------------------------------------- adapting

  /** Follows the work from now on, within these bounds; null: not any more. */
  adapt(wish: AdaptWish | null): void {
    if (wish === null) {
      this.adaptive = null;
      return;
    }
    this.mustScale();
    this.adaptive = new Adaptive(boundsOf(wish));
    this.adaptedAt = -Infinity;
    const { minimum, maximum } = this.adaptive.options;
    this.scheduler.log.info(`it adapts to the work with ${minimum} to ${maximum} workers`);
  }

  /** Bounds while it adapts, else null; JSON knows no Infinity. */
  get bounds(): { minimum: number; maximum: number | null } | null {
    if (this.adaptive === null) return null;
    const { minimum, maximum } = this.adaptive.options;
    return { minimum, maximum: maximum === Infinity ? null : maximum };
  }

  /** Decisions so far, the newest last. */
  get adaptiveLog(): readonly { at: number; text: string }[] {
    return this.adaptive?.log ?? [];
  }

  private adaptOnce(adaptive: Adaptive): void {
    const planned = this.planned();
    const decision = adaptive.decide(this.scheduler.state, planned);
    if (decision === null) return;
    const { workers, close, reason } = decision;
    this.scheduler.log.info(`adapts from ${planned} to ${workers} workers: ${reason}`);
    this.resize(workers, close, `not needed any more: ${reason}`).catch((error: Error) =>
      this.scheduler.log.warn(`could not adapt: ${error.message}`)
    );
  }
}

function boundsOf({ minimum = 0, maximum }: AdaptWish): Partial<AdaptiveOptions> {
  const whole = (value: unknown): boolean =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 10_000;
  const most = maximum ?? null;
  if (!whole(minimum) || (most !== null && (!whole(most) || most < Math.max(1, minimum)))) {
    throw new ConfigError(
      `Adapt between whole numbers of workers, at least one at most: not from ` +
        `${JSON.stringify(minimum)} to ${JSON.stringify(most)}.`
    );
  }
  return { minimum, maximum: most ?? Infinity };
}
