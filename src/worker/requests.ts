/** What the scheduler may ask a worker over its link, by method name. */
import type { RequestHandler } from '../comm/rpc.ts';
import type { Log } from '../diagnostics/log.ts';
import type { ThreadSetup } from './executor/messages.ts';
import { runOnce } from './executor/run-once.ts';
import type { LogEntry, WorkerTask } from './state/state.ts';
import type { DumpedWorkerState } from '../protocol/dump.ts';
import type { Language } from '../protocol/messages.ts';
import type { ProfileWish } from '../protocol/profile.ts';
import type { ThreadStack } from './executor/stacks.ts';

export interface ExecutingTask {
  tid: number;
  key: string;
  /** ms since it was first seen running. */
  forMs: number;
}

export interface RequestContext {
  root: string;
  address: string;
  memoryLimit: number;
  context(): ThreadSetup['context'];
  log: Log;
  /** null: of all keys. */
  history(keys: ReadonlySet<string> | null): LogEntry[];
  tasks(): Iterable<Readonly<WorkerTask>>;
  info(): Record<string, unknown>;
  executing(): ExecutingTask[];
  runPython(blob: Uint8Array, args: Uint8Array): Promise<unknown>;
  stacks(timeoutMs: number): Promise<Map<number, ThreadStack>>;
  profiles(wanted: ProfileWish, timeoutMs: number): Promise<Uint8Array[]>;
}

interface RunParams {
  blob: Uint8Array;
  args: Uint8Array;
  /** Default `javascript`. */
  language?: Language;
  /** false: answer at once, with null. */
  wait?: boolean;
}

/** `run`, `logs`, `story`, `executing`, `call-stack`, `profile`, `dump`. */
export function requestHandlers(context: RequestContext): ReadonlyMap<string, RequestHandler> {
  const { log, root, address, memoryLimit } = context;
  const run = ({ blob, args, wait, language }: RunParams): unknown => {
    if (language === 'python') {
      const answer = context.runPython(blob, args);
      return wait === false ? null : answer;
    }
    const answer = runOnce({
      blob,
      args,
      root,
      address,
      memoryLimit,
      context: context.context(),
      onLog: (level, key, text) => log.add(level, `[${key}] ${text}`)
    });
    return wait === false ? null : answer;
  };
  return new Map<string, RequestHandler>([
    ['run', run],
    ['logs', ({ n }: { n?: number }) => log.tail(n)],
    ['story', ({ keys }: { keys: string[] }) => context.history(new Set(keys))],
    ['dump', () => dumpWorker(context)],
    ['executing', () => context.executing()],
    ['call-stack', ({ timeoutMs }: { timeoutMs: number }) => callStack(context, timeoutMs)],
    ['profile', (wish: ProfileWish) => context.profiles(wish, PROFILE_MS)]
  ]);
}

/** ms within which an executor must tell its profile; one that holds its interpreter does not. */
const PROFILE_MS = 5000;

/** The stack of every task that runs, and for how long it has. */
async function callStack(context: RequestContext, timeoutMs: number): Promise<object[]> {
  const running = context.executing();
  const stacks = await context.stacks(timeoutMs);
  const seen = running.filter(({ tid }) => stacks.has(tid));
  return seen.map(({ tid, key, forMs }) => ({ key, forMs, ...stacks.get(tid) }));
}

/** Tasks in a dump: an answer must fit into a frame. */
const DUMPED_TASKS = 100_000;

function dumpWorker(context: RequestContext): DumpedWorkerState {
  const tasks: DumpedWorkerState['tasks'] = [];
  let taskCount = 0;
  for (const { tid, key, state, runId, nbytes } of context.tasks()) {
    if (++taskCount <= DUMPED_TASKS) tasks.push({ tid, key, state, runId, nbytes });
  }
  const executing = context.executing().map(({ key, forMs }) => ({ key, forMs }));
  return { info: context.info(), tasks, taskCount, executing, history: context.history(null) };
}
