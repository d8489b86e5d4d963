/** What the scheduler may ask a worker over its link, by method name. */
import type { RequestHandler } from '../comm/rpc.ts';
import type { Log } from '../diagnostics/log.ts';
import { runOnce } from './executor/run-once.ts';

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
  log: Log;
  story(which: string | number): string[];
  executing(): ExecutingTask[];
}

interface RunParams {
  blob: Uint8Array;
  args: Uint8Array;
  /** false: answer at once, with null. */
  wait?: boolean;
}

/** `run`, `logs`, `story`, `executing`. */
export function requestHandlers(context: RequestContext): ReadonlyMap<string, RequestHandler> {
  const { log, root, address, memoryLimit } = context;
  const run = ({ blob, args, wait }: RunParams): unknown => {
    const answer = runOnce({
      blob,
      args,
      root,
      address,
      memoryLimit,
      onLog: (level, key, text) => log.add(level, `[${key}] ${text}`)
    });
    return wait === false ? null : answer;
  };
  return new Map<string, RequestHandler>([
    ['run', run],
    ['logs', ({ n }: { n?: number }) => log.tail(n)],
    ['story', ({ keys }: { keys: (string | number)[] }) => keys.flatMap(key => context.story(key))],
    ['executing', () => context.executing()]
  ]);
}
