/**
 * What a client may ask of the inside of its cluster: stories, explanations, call stacks. Whatever
 * needs an answer of workers waits for it for a limited time, and says who did not give one.
 */
import { hostname } from 'node:os';
import type { RequestHandler } from '../comm/rpc.ts';
import { clusterLogs } from './cluster-info.ts';
import type { Scheduler } from './scheduler.ts';
import { packDump } from '../diagnostics/dump.ts';
import { DUMP_FORMAT, DUMP_VERSION } from '../protocol/dump.ts';
import type { ClusterDump, DumpedWorkerState } from '../protocol/dump.ts';
import type { ProfileWish } from '../protocol/profile.ts';
import type { StoryLine } from '../protocol/story.ts';
import { dumpState } from './state/dump.ts';
import { explain } from './state/explain.ts';

/** Methods that are the same for all clients. */
export function diagnosticMethods(scheduler: Scheduler): Record<string, RequestHandler> {
  const { state } = scheduler;
  return {
    story: ({ keys }: { keys: string[] }) => story(scheduler, keys),
    versions: () => scheduler.versions.list(),
    explain: ({ key }: { key: string }) => explain(state, key),
    profile: ({ workers, ...wish }: ProfileWish & { workers: string[] | null }) =>
      profile(scheduler, wish, workers),
    'call-stack': ({ keys, timeoutMs }: { keys: string[] | null; timeoutMs: number }) =>
      callStacks(scheduler, keys, timeoutMs)
  };
}

/** ms to wait for a worker's part of a story. */
const STORY_MS = 3000;

/** The newest steps of tasks on the scheduler and all workers, oldest first. */
async function story(scheduler: Scheduler, keys: readonly string[]): Promise<StoryLine[]> {
  const wanted = new Set(keys);
  const own = scheduler.state.story.select(({ key }) => wanted.has(key));
  const steps: StoryLine[] = own.map(line => ({
    ...line,
    where: 'scheduler',
    text: `${line.start} -> ${line.finish}`
  }));
  const parts = await Promise.all(
    [...scheduler.workers].map(async ([id, { requester, register }]) => {
      try {
        const told = (await requester.request('story', { keys }, STORY_MS)) as WorkerEntry[];
        return told.map(entry => workerStep(entry, register.name, offsetOf(scheduler, id)));
      } catch {
        // A worker that goes or hangs has no say; explain and the logs tell of that.
        return [];
      }
    })
  );
  return [...steps, ...parts.flat()].sort((a, b) => a.time - b.time);
}

interface WorkerEntry {
  key: string;
  text: string;
  stimulus: string;
  at: number;
}

function workerStep({ key, text, stimulus, at }: WorkerEntry, where: string, offset: number) {
  const [, start = '', finish = ''] = /^([a-z-]+) -> ([a-z-]+)/.exec(text) ?? [];
  return { time: at + offset, where, key, text, start, finish, stimulus };
}

/** Workers of this machine have its clock; others' is told by their heartbeats. */
function offsetOf(scheduler: Scheduler, id: number): number {
  const worker = scheduler.state.workers.get(id);
  if (worker === undefined || worker.facts.host === hostname()) return 0;
  return Number.isFinite(worker.clockOffset) ? worker.clockOffset : 0;
}

/** What a worker tells of the stack of one running task. */
interface WorkerStack {
  key: string;
  forMs: number;
  frames: string[];
  note: string;
}

/** Stacks of running tasks, all or those of some keys; a worker that does not answer is named. */
async function callStacks(
  scheduler: Scheduler,
  keys: readonly string[] | null,
  timeoutMs: number
): Promise<unknown[]> {
  const wanted = keys === null ? null : new Set(keys);
  const busy = [...scheduler.state.workers.values()].filter(
    ({ processing }) =>
      processing.size > 0 && (wanted === null || [...processing].some(({ key }) => wanted.has(key)))
  );
  const answers = await Promise.all(
    busy.map(async ({ id, facts }) => {
      const place = { worker: facts.address, name: facts.name };
      try {
        const asked = scheduler.workers.get(id)?.requester;
        const found = await asked?.request('call-stack', { timeoutMs }, timeoutMs + 2000);
        return ((found ?? []) as WorkerStack[])
          .filter(({ key }) => wanted === null || wanted.has(key))
          .map(stack => ({ ...place, ...stack }));
      } catch (error) {
        const note = `Worker ${facts.name} does not tell: ${error instanceof Error ? error.message : String(error)}`;
        return [{ ...place, key: '', forMs: 0, frames: [], note }];
      }
    })
  );
  return answers.flat();
}

/** ms to wait for a worker's profile. */
const PROFILE_MS = 10_000;

/** What the Python tasks of each worker have spent their time on, opaque, by worker address. */
async function profile(
  scheduler: Scheduler,
  wish: ProfileWish,
  workers: readonly string[] | null
): Promise<Record<string, unknown>> {
  const answers = scheduler.linksTo(workers).map(async ({ register, requester }) => {
    // A worker that goes or hangs has nothing to add.
    const trees = await requester.request('profile', wish, PROFILE_MS).catch(() => []);
    return [register.address, trees] as const;
  });
  return Object.fromEntries(await Promise.all(answers));
}

/** ms to wait for a worker's part of a dump. */
const DUMP_MS = 10_000;

/** Everything that this cluster knows of itself but values and secrets, as the bytes of a file. */
export async function clusterDump(scheduler: Scheduler): Promise<Uint8Array> {
  const { options, state, id, address } = scheduler;
  const { token, name, kind } = options;
  // Taken at one moment; what workers add is from shortly after.
  const own = dumpState(state);
  const asked = [...scheduler.workers.values()].map(async ({ register, requester }) => {
    const told = requester.request('dump', {}, DUMP_MS) as Promise<DumpedWorkerState>;
    return [register.name, await told.catch((error: Error) => error.message)] as const;
  });
  const dump: ClusterDump = {
    format: DUMP_FORMAT,
    version: DUMP_VERSION,
    takenAt: Date.now(),
    cluster: { id, name, kind, address, startedAt: scheduler.startedAt },
    settings: settingsOf(options),
    versions: scheduler.versions.list(),
    scheduler: own,
    workers: Object.fromEntries(await Promise.all(asked)),
    nannies: [...scheduler.nannies.values()].map(({ register, status }) => {
      const { nanny, host, pid } = register;
      return { nanny, host, pid, status };
    }),
    logs: (await clusterLogs(scheduler, 10_000)).logs
  };
  return packDump(dump, [token]);
}

/** What it was started with, as far as that is numbers and texts. The token goes nowhere. */
function settingsOf(options: object): Record<string, unknown> {
  const plain = Object.entries(options).filter(
    ([name, value]) => name !== 'token' && /^(number|string|boolean)$/.test(typeof value)
  );
  return Object.fromEntries(plain);
}
