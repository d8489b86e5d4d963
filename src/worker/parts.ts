/**
 * What works under the numbers of one scheduler: store, executor pool, transfers. For the next
 * scheduler they are made anew; values and running executions are handed on (take-over.ts).
 */
import type { Log } from '../diagnostics/log.ts';
import type { WorkerToScheduler } from '../protocol/messages.ts';
import { DataService } from './data-service.ts';
import type { ThreadSetup } from './executor/messages.ts';
import type { Orphans } from './executor/orphans.ts';
import type { PoolEvents, PythonShape } from './executor/pool-options.ts';
import { ExecutorPool } from './executor/pool.ts';
import { Gatherer } from './gatherer.ts';
import type { WorkerOptions } from './options.ts';
import type { WorkerEvent, WorkerState } from './state/state.ts';
import type { Sharing } from './store/filed.ts';
import type { StoreView } from './store-view.ts';

/** What speaks the numbers of one scheduler, and is made anew for the next. */
export interface Parts {
  epoch: string;
  store: StoreView;
  pool: ExecutorPool;
  poolEvents: PoolEvents;
  gatherer: Gatherer;
  data: DataService;
}

/** What works, or worked last, under a scheduler. */
export interface UnderScheduler {
  parts: Parts;
  /** null: there was none yet. */
  state: WorkerState | null;
  /** Executions of schedulers before. */
  orphans: Orphans;
}

/** What they need of their worker. */
interface PartsOwner {
  options: WorkerOptions;
  address: string;
  log: Log;
  state(): WorkerState | null;
  context(): ThreadSetup['context'];
  /** How Python tasks are run. */
  python(): PythonShape | undefined;
  /** How it hands files over. */
  sharing(): Sharing | null;
  send(message: WorkerToScheduler): void;
  onEvent(event: WorkerEvent): void;
  /** An execution with a timeout began. */
  onBegan(tid: number, runId: number): void;
  /** The executors cannot go on. */
  onBroken(reason: string): void;
}

/** Parts for the scheduler of an epoch. */
export function makeParts(epoch: string, store: StoreView, owner: PartsOwner): Parts {
  const { options, log, address, onEvent } = owner;
  const { memoryLimit, nthreads, token } = options;
  const poolEvents: PoolEvents = {
    onSuccess: onEvent,
    onFailure: ({ tid, runId }, error, lane, start, duration) =>
      onEvent({ op: 'execute-failure', tid, runId, error, lane, start, duration }),
    onReturned: (tids, runIds) => onEvent({ op: 'execute-returned', tids, runIds }),
    onKept: (tids, runIds) => onEvent({ op: 'execute-kept', tids, runIds }),
    onSeceded: (tid, runId, duration) => onEvent({ op: 'secede', tid, runId, duration }),
    onReschedule: (tid, runId) => onEvent({ op: 'execute-reschedule', tid, runId }),
    onKilled: (tid, runId) => onEvent({ op: 'execution-killed', tid, runId }),
    onBegan: (tid, runId) => owner.onBegan(tid, runId),
    onLog: (level, key, text) => log.add(level, key === '' ? text : `[${key}] ${text}`),
    onBroken: reason => owner.onBroken(reason)
  };
  const keyOf = (tid: number): string => owner.state()?.get(tid)?.key ?? '';
  const root = options.root ?? process.cwd();
  const sharing = owner.sharing();
  return {
    epoch,
    store,
    poolEvents,
    pool: new ExecutorPool({
      nthreads,
      memoryLimit,
      root,
      address,
      store,
      lastWords: options.lastWords ?? '',
      context: () => owner.context(),
      keyOf,
      python: owner.python(),
      events: poolEvents
    }),
    gatherer: new Gatherer({
      token,
      epoch,
      store,
      sharing,
      keyOf,
      onEvent,
      onTransfer: message => owner.send(message),
      onLog: text => log.warn(text)
    }),
    data: new DataService({
      epoch,
      store,
      memoryLimit,
      sharing,
      keyOf,
      isPaused: () => owner.state()?.paused === true,
      onPut: onEvent
    })
  };
}
