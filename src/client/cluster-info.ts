/** What a client can be told of its cluster as a whole: its workers, and everybody's log. */
import { TimeoutError } from '../base/errors.ts';
import type { ClusterInfo, ClusterLogs } from '../protocol/launcher.ts';
import type { WaitOptions } from './future.ts';
import type { Session } from './session.ts';

/** What `client.schedulerInfo` tells; `members` by address. */
export interface SchedulerInfo extends Omit<ClusterInfo, 'state' | 'can'> {
  members: Record<
    string,
    {
      name: string;
      address: string;
      pid: number;
      host: string;
      nthreads: number;
      memoryLimit: number;
      status: string;
      processing: number;
      inMemory: number;
      nbytes: number;
    }
  >;
}

/** The cluster and its workers. */
export async function fetchInfo(session: Session): Promise<SchedulerInfo> {
  return (await session.request('scheduler-info', {})) as SchedulerInfo;
}

/** Newest log lines of all processes. */
export async function fetchLogs(session: Session, lines: number): Promise<ClusterLogs['logs']> {
  return ((await session.request('logs', { n: lines })) as ClusterLogs).logs;
}

/** Newest log lines of workers, by name. */
export async function fetchWorkerLogs(
  session: Session,
  lines: number
): Promise<Record<string, string[]>> {
  const { members } = await fetchInfo(session);
  const names = new Set(Object.values(members).map(member => member.name));
  const logs = await fetchLogs(session, lines);
  return Object.fromEntries(
    logs.filter(log => names.has(log.source)).map(log => [log.source, log.lines])
  );
}

/** Resolves when so many workers run. TimeoutError says how many came. */
export async function waitForWorkers(
  session: Session,
  count: number,
  options: WaitOptions
): Promise<void> {
  const end = Date.now() + (options.timeout ?? Infinity) * 1000;
  for (;;) {
    const { workers } = await fetchInfo(session);
    if (workers.running >= count) return;
    if (Date.now() >= end) {
      throw new TimeoutError(
        `${workers.running} of ${count} workers came within ${options.timeout} s. Start workers ` +
          `(cluster.scale(${count})), or look at client.logs() for what keeps them.`
      );
    }
    await session.alive(() => new Promise(resolve => setTimeout(resolve, 50)));
  }
}
