/** What the scheduler may ask a worker over its link, by method name. */
import type { RequestHandler } from '../comm/rpc.ts';
import type { Log } from '../diagnostics/log.ts';
import type { ThreadSetup } from './executor/messages.ts';
import { runOnce } from './executor/run-once.ts';
import type { LogEntry } from './state/state.ts';
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
  history(keys: ReadonlySet<string>): LogEntry[];
  executing(): ExecutingTask[];
  stacks(timeoutMs: number): Promise<Map<number, ThreadStack>>;
}

interface RunParams {
  blob: Uint8Array;
  args: Uint8Array;
  /** false: answer at once, with null. */
  wait?: boolean;
}

/** `run`, `logs`, `story`, `executing`, `call-stack`. */
export function requestHandlers(context: RequestContext): ReadonlyMap<string, RequestHandler> {
  const { log, root, address, memoryLimit } = context;
  const run = ({ blob, args, wait }: RunParams): unknown => {
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
    ['executing', () => context.executing()],
    ['call-stack', ({ timeoutMs }: { timeoutMs: number }) => callStack(context, timeoutMs)]
  ]);
}

/** The stack of every task that runs, and for how long it has. */
async function callStack(context: RequestContext, timeoutMs: number): Promise<object[]> {
  const running = context.executing();
  const stacks = await context.stacks(timeoutMs);
  const seen = running.filter(({ tid }) => stacks.has(tid));
  return seen.map(({ tid, key, forMs }) => ({ key, forMs, ...stacks.get(tid) }));
}
