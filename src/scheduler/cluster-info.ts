/** What a scheduler says of its cluster to launcher, command and clients: sums, and everybody's log. */
import type { Requester } from '../comm/rpc.ts';
import type { ClusterInfo, ClusterLogs } from '../protocol/launcher.ts';
import type { Scheduler } from './scheduler.ts';
import { TASK_STATES } from './state/tasks.ts';
import type { TaskState } from './state/tasks.ts';

/** ms to wait for a process's log. */
const LOGS_MS = 3000;

/** What the launcher shows of a cluster (protocol/launcher.ts), as far as its scheduler knows it. */
interface SchedulersInfo extends Omit<ClusterInfo, 'state' | 'reason' | 'can'> {
  reason: string | null;
  canScale: boolean;
}

/** The cluster in figures. */
export function clusterInfo(scheduler: Scheduler): SchedulersInfo {
  const { state, options } = scheduler;
  const workers = [...state.workers.values()];
  const nannies = [...scheduler.nannies.values()];
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
  const count = (one: TaskState): number => {
    const at = TASK_STATES.indexOf(one);
    return sum([...state.prefixes.values()].map(prefix => prefix.counts[at] ?? 0));
  };
  return {
    id: scheduler.id,
    name: options.name,
    kind: options.kind,
    reason: nannies.find(nanny => nanny.status?.reason)?.status?.reason ?? null,
    canScale: nannies.some(nanny => nanny.register.canScale),
    workers: {
      running: workers.length,
      starting: sum(nannies.map(nanny => nanny.status?.starting ?? 0)),
      pending: 0
    },
    threads: sum(workers.map(worker => worker.facts.nthreads)),
    memory: {
      used: sum(workers.map(worker => worker.metrics?.rss ?? 0)),
      limit: sum(workers.map(worker => worker.facts.memoryLimit))
    },
    tasks: {
      processing: count('processing'),
      queued: count('queued'),
      memory: count('memory'),
      erred: count('erred')
    },
    startedAt: scheduler.startedAt,
    madeBy: options.madeBy,
    address: scheduler.address,
    adaptive: scheduler.scaling.bounds
  };
}

/** Newest log lines of every process of the cluster; one that does not answer says so. */
export async function clusterLogs(scheduler: Scheduler, lines = 1000): Promise<ClusterLogs> {
  const ask = async (source: string, requester: Requester): Promise<ClusterLogs['logs']> => {
    try {
      const answer = await requester.request('logs', { n: lines }, LOGS_MS);
      return Array.isArray(answer)
        ? [{ source, lines: answer as string[] }]
        : (answer as ClusterLogs).logs;
    } catch (error) {
      return [
        { source, lines: [`(no log: ${error instanceof Error ? error.message : String(error)})`] }
      ];
    }
  };
  const others = await Promise.all([
    ...[...scheduler.workers.values()].map(link => ask(link.register.name, link.requester)),
    ...[...scheduler.nannies.values()].map(link => ask('nanny', link.requester))
  ]);
  return { logs: [{ source: 'scheduler', lines: scheduler.log.tail(lines) }, ...others.flat()] };
}
