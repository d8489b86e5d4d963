/**
 * What a client may ask the scheduler (`request` messages): read-only looks at the state, and the
 * calls that go on to workers and nannies. Method names are Dask's words.
 */
import type { Language } from '../protocol/messages.ts';
import type { RequestHandler } from '../comm/rpc.ts';
import { smallList } from '../base/small-set.ts';
import { ConfigError } from '../base/errors.ts';
import { clusterInfo, clusterLogs } from './cluster-info.ts';
import { dataMethods } from './data-methods.ts';
import { diagnosticMethods } from './diagnostics.ts';
import type { Scheduler } from './scheduler.ts';
import { checkMessage } from '../protocol/check.ts';
import type { Dataset } from './state/lasting.ts';
import { graphProgress } from './state/progress.ts';
import type { Task } from './state/tasks.ts';

/** Questions that wait, after a restart, until the workers are back. */
export const NEEDS_WORKERS: ReadonlySet<string> = new Set([
  'locate',
  'states',
  'graph-progress',
  'who-has',
  'has-what',
  'scatter-plan',
  'run'
]);

/** All methods for one client. */
export function clientMethods(
  scheduler: Scheduler,
  clientId: string
): ReadonlyMap<string, RequestHandler> {
  const { state } = scheduler;
  const task = (cid: number): Task | undefined =>
    state.clients.get(clientId)?.bindings.get(cid)?.task;
  const methods: Record<string, RequestHandler> = {
    ...diagnosticMethods(scheduler),
    ...dataMethods(scheduler, task),
    /** Holders of keys: by the client's numbers, for fetching. */
    locate: ({ cids }: { cids: number[] }) => ({
      epoch: state.epoch,
      states: cids.map(cid => task(cid)?.state ?? 'forgotten'),
      tids: cids.map(cid => task(cid)?.id ?? 0),
      holders: cids.map(cid =>
        smallList(task(cid)?.whoHas ?? null).map(worker => worker.facts.address)
      )
    }),
    states: ({ cids }: { cids: number[] }) => cids.map(cid => task(cid)?.state ?? 'forgotten'),
    'graph-progress': ({ first, count }: { first: number; count: number }) => {
      const client = state.clients.get(clientId);
      return client === undefined ? null : graphProgress(client, first, count);
    },
    'who-has': ({ keys }: { keys: string[] | null }) =>
      Object.fromEntries(
        selected(scheduler, keys).map(one => [
          one.key,
          smallList(one.whoHas).map(worker => worker.facts.address)
        ])
      ),
    'has-what': () => byWorker(scheduler, worker => [...worker.hasWhat].map(one => one.key)),
    processing: () => byWorker(scheduler, worker => [...worker.processing].map(one => one.key)),
    'scheduler-info': () => ({
      ...clusterInfo(scheduler),
      members: byWorker(scheduler, worker => ({
        ...worker.facts,
        status: worker.status,
        startedAt: worker.startedAt,
        lastSeen: worker.lastSeen,
        processing: worker.processing.size,
        inMemory: worker.hasWhat.size,
        nbytes: worker.nbytes,
        metrics: worker.metrics
      }))
    }),
    /** One worker a value; copies for broadcasts are made by the workers (`replicate`). */
    'scatter-plan': ({ count, workers }: ScatterPlan) => {
      const plan = state.planScatter(clientId, count, workers);
      if (plan.tids.length < count) throw new ConfigError(noWorkerText(workers));
      return {
        epoch: state.epoch,
        tids: plan.tids,
        holders: plan.workers.map(({ id, facts }) => [{ id, address: facts.address }])
      };
    },
    'publish-dataset': ({ name, cids, value, override }: Publication) => {
      if (state.datasets.has(name) && !override) {
        throw new ConfigError(
          `A dataset named ${name} is published already. Choose another name, take it back with ` +
            `client.unpublishDataset(${JSON.stringify(name)}), or replace it with { override: true }.`
        );
      }
      if (cids.some(cid => task(cid) === undefined)) {
        throw new ConfigError(`Dataset ${name} holds a future that was released or cancelled.`);
      }
      const message = { op: 'publish-dataset' as const, name, cids, value };
      checkMessage(message);
      scheduler.apply({ type: 'client-message', client: clientId, message });
    },
    'unpublish-dataset': ({ name }: { name: string }) => {
      datasetNamed(scheduler, name);
      const message = { op: 'unpublish-dataset' as const, name };
      scheduler.apply({ type: 'client-message', client: clientId, message });
    },
    'get-dataset': ({ name }: { name: string }) => {
      const { keys, value } = datasetNamed(scheduler, name);
      return { keys, value };
    },
    'list-datasets': () => [...state.datasets.keys()].sort(),
    logs: ({ n }: { n: number }) => clusterLogs(scheduler, n),
    run: ({
      blob,
      args,
      workers,
      language
    }: {
      blob: Uint8Array;
      args: Uint8Array;
      workers: string[] | null;
      language?: Language;
    }) => runEverywhere(scheduler, { blob, args, language }, workers),
    scale: ({ workers }: { workers: number }) => scheduler.scaling.scale(workers),
    'restart-workers': ({ names = null }: { names?: string[] | null }) =>
      scheduler.scaling.askNannies('restart-workers', { names }),
    close: ({ reason }: { reason: string }) => scheduler.requestClose(reason)
  };
  return new Map(Object.entries(methods));
}

interface ScatterPlan {
  count: number;
  workers: string[] | null;
}

interface Publication {
  name: string;
  cids: number[];
  value: Uint8Array;
  override: boolean;
}

function datasetNamed(scheduler: Scheduler, name: string): Dataset {
  const { datasets } = scheduler.state;
  const dataset = datasets.get(name);
  if (dataset !== undefined) return dataset;
  const names = [...datasets.keys()].sort();
  throw new ConfigError(
    `No dataset named ${name} is published on this cluster` +
      (names.length === 0 ? '.' : `; these are: ${names.join(', ')}.`)
  );
}

function noWorkerText(workers: string[] | null): string {
  return workers === null
    ? 'Nothing can be scattered: the cluster has no running worker. Start one, or client.waitForWorkers(1).'
    : `Nothing can be scattered: none of the workers ${workers.join(', ')} is running.`;
}

function selected(scheduler: Scheduler, keys: string[] | null): Task[] {
  if (keys === null) return [...scheduler.state.tasks.values()];
  return keys.map(key => scheduler.state.byKey.get(key)).filter(task => task !== undefined);
}

function byWorker<T>(
  scheduler: Scheduler,
  of: (worker: ReturnType<Scheduler['state']['workers']['get']> & object) => T
): Record<string, T> {
  return Object.fromEntries(
    [...scheduler.state.workers.values()].map(worker => [worker.facts.address, of(worker)])
  );
}

/** Runs a function once on each worker, beside its tasks; answers by worker address. */
async function runEverywhere(
  scheduler: Scheduler,
  call: { blob: Uint8Array; args: Uint8Array; language?: Language | undefined },
  workers: string[] | null
): Promise<Record<string, unknown>> {
  const answers = await Promise.all(
    scheduler.linksTo(workers).map(async ({ register, requester }) => {
      try {
        return [register.address, await requester.request('run', call)] as const;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        const failed = {
          code: 'COMM_CLOSED',
          message,
          traceback: '',
          exception: null,
          blame: 'run',
          worker: register.address
        };
        return [register.address, { error: failed }] as const;
      }
    })
  );
  return Object.fromEntries(answers);
}
