/** What a client may ask about where its values lie, and about workers that shall leave. */
import type { RequestHandler } from '../comm/rpc.ts';
import { ConfigError, TimeoutError } from '../base/errors.ts';
import { RETIRE_MS } from './scaling.ts';
import type { AdaptWish, Retired } from './scaling.ts';
import type { Scheduler } from './scheduler.ts';
import { workersToClose } from './state/adaptive.ts';
import { missingCopies, runningNamed } from './state/replicas.ts';
import type { Task } from './state/tasks.ts';

/** ms for copies to be made; a client that waits for them hears of it after that. */
const COPY_MS = 120_000;

interface RetireParams {
  /** Names, addresses or hosts; null: as many as `count` says, or as can go. */
  workers: string[] | null;
  count: number | null;
  close: boolean;
  force: boolean;
  /** ms for running tasks. */
  timeout: number | null;
}

/** `replicate`, `rebalance`, `retire-workers`, `workers-to-close`, `adapt`, `adaptive-log`. */
export function dataMethods(
  scheduler: Scheduler,
  task: (cid: number) => Task | undefined
): Record<string, RequestHandler> {
  const { state, scaling } = scheduler;
  const known = (cids: number[]): Task[] => cids.map(task).filter(one => one !== undefined);
  return {
    /** So many copies of each (null: one a worker); answers when they are there. */
    replicate: async ({ cids, count, workers }: ReplicateParams) => {
      const tasks = known(cids);
      if (runningNamed(state, workers).length === 0) throw new ConfigError(noneRuns(workers));
      const wish = { count: count ?? Infinity, workers };
      scheduler.apply({ type: 'replicate', tasks: tasks.map(({ id }) => id), ...wish });
      const missing = (): Task[] => tasks.filter(one => missingCopies(state, one) > 0);
      if (await scaling.until(() => missing().length === 0, COPY_MS)) return {};
      throw new TimeoutError(
        `${missing().length} of ${tasks.length} values have fewer copies than asked for after ` +
          `${COPY_MS / 1000} s; they are still being made. client.whoHas() shows where they are.`
      );
    },
    /** Evens out memory; answers, with how many values were moved, when they are. */
    rebalance: async ({ cids, workers }: { cids: number[] | null; workers: string[] | null }) => {
      const tasks = cids === null ? null : known(cids).map(({ id }) => id);
      const before = new Set(state.replicas.moves.keys());
      scheduler.apply({ type: 'rebalance', tasks, workers });
      const moving = [...state.replicas.moves.keys()].filter(one => !before.has(one));
      const over = (): boolean => !moving.some(one => state.replicas.moves.has(one));
      if (await scaling.until(over, COPY_MS)) return { moved: moving.length };
      throw new TimeoutError(`Not all of ${moving.length} values were moved in time.`);
    },
    'retire-workers': (params: RetireParams): Promise<Retired[]> => {
      const { workers, count, close, force, timeout } = params;
      return scaling.retire(chosen(scheduler, workers, count), {
        timeout: timeout ?? RETIRE_MS,
        force,
        reason: 'retired by a client',
        then: close ? 'close' : 'leave'
      });
    },
    'workers-to-close': ({ count }: { count: number | null }) =>
      workersToClose(state, count === null ? {} : { count }).map(({ facts }) => facts.address),
    adapt: ({ wish }: { wish: AdaptWish | null }) => scaling.adapt(wish),
    'adaptive-log': () => scaling.adaptiveLog
  };
}

interface ReplicateParams {
  cids: number[];
  count: number | null;
  workers: string[] | null;
}

function noneRuns(workers: string[] | null): string {
  return workers === null
    ? 'Nothing can be copied: the cluster has no running worker.'
    : `Nothing can be copied: none of the workers ${workers.join(', ')} is running.`;
}

function chosen(scheduler: Scheduler, names: string[] | null, count: number | null): number[] {
  const { state } = scheduler;
  if (names === null) {
    return workersToClose(state, count === null ? {} : { count }).map(worker => worker.id);
  }
  const found = [...state.workers.values()].filter(({ facts }) =>
    [facts.name, facts.address, facts.host].some(name => names.includes(name))
  );
  if (found.length > 0) return found.map(worker => worker.id);
  throw new ConfigError(
    `None of the ${state.workers.size} workers is called ${names.join(' or ')}. Name workers by ` +
      `name, address or host, as in client.schedulerInfo().`
  );
}
