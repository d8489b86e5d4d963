/**
 * The scheduler's tables as plain data, to be looked at later and elsewhere. Tasks are columns:
 * there may be a million of them. Arguments, functions and values are left out.
 */
import { smallList } from '../../base/small-set.ts';
import type { DumpedScheduler, DumpedTasks } from '../../protocol/dump.ts';
import { explain } from './explain.ts';
import type { SchedulerState } from './state.ts';
import { TASK_STATES, runsBefore } from './tasks.ts';
import type { Task } from './tasks.ts';

/** Unfinished tasks that are explained at once, those that would run first. */
const EXPLAINED = 50;

/** Everything but payloads. */
export function dumpState(state: SchedulerState): DumpedScheduler {
  const tasks = [...state.tasks.values()];
  return {
    now: state.now,
    stateNames: TASK_STATES,
    transitions: state.story.count,
    tasks: columnsOf(tasks),
    errors: errorsOf(tasks),
    workers: [...state.workers.values()].map(worker => ({
      ...worker.facts,
      id: worker.id,
      status: worker.status,
      startedAt: worker.startedAt,
      lastSeen: worker.lastSeen,
      nbytes: worker.nbytes,
      inMemory: worker.hasWhat.size,
      processing: [...worker.processing].map(task => task.id),
      executing: [...worker.executing],
      metrics: worker.metrics
    })),
    clients: [...state.clients.values()].map(({ id, name, bindings, lastSeen }) => {
      return { id, name, keys: bindings.size, lastSeen };
    }),
    prefixes: [...state.prefixes.values()].map(({ name, duration, counts }) => {
      return { name, duration, counts: [...counts] };
    }),
    explanations: explanationsOf(state, tasks),
    story: state.story.select(() => true)
  };
}

function columnsOf(tasks: readonly Task[]): DumpedTasks {
  return {
    ids: tasks.map(task => task.id),
    keys: tasks.map(task => task.key),
    prefixes: tasks.map(task => task.group.prefix.name),
    states: tasks.map(task => TASK_STATES.indexOf(task.state)),
    deps: tasks.map(task => task.deps.map(dep => dep.id)),
    whoHas: tasks.map(task => smallList(task.whoHas).map(worker => worker.id)),
    processingOn: tasks.map(task => task.processingOn?.id ?? 0),
    runIds: tasks.map(task => task.runId),
    nbytes: tasks.map(task => task.nbytes),
    types: tasks.map(task => task.type),
    retries: tasks.map(task => task.retries),
    suspicious: tasks.map(task => task.suspicious),
    wants: tasks.map(task => task.wants),
    waiters: tasks.map(task => task.waiters)
  };
}

function errorsOf(tasks: readonly Task[]): DumpedScheduler['errors'] {
  const failed = tasks.filter(task => task.error !== null);
  return Object.fromEntries(
    failed.map(({ key, error }) => {
      const { code = '', message = '', traceback = '', blame = '' } = error ?? {};
      return [key, { code, message, traceback, blame }];
    })
  );
}

function explanationsOf(state: SchedulerState, tasks: readonly Task[]): Record<string, string> {
  const stuck = tasks.filter(task => task.state === 'no-worker');
  const others = tasks.filter(({ state: at }) => /^(waiting|queued|processing)$/.test(at));
  others.sort((a, b) => (runsBefore(a, b) ? -1 : 1));
  const chosen = [...stuck, ...others].slice(0, EXPLAINED);
  return Object.fromEntries(chosen.map(({ key }) => [key, explain(state, key)]));
}
