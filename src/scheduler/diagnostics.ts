/**
 * What a client may ask of the inside of its cluster: stories, explanations, call stacks. Whatever
 * needs an answer of workers waits for it for a limited time, and says who did not give one.
 */
import type { RequestHandler } from '../comm/rpc.ts';
import type { Scheduler } from './scheduler.ts';
import { explain } from './state/explain.ts';

/** Methods that are the same for all clients. */
export function diagnosticMethods(scheduler: Scheduler): Record<string, RequestHandler> {
  const { state } = scheduler;
  return {
    story: ({ keys }: { keys: string[] }) => state.story.select(line => keys.includes(line.key)),
    explain: ({ key }: { key: string }) => explain(state, key),
    'call-stack': ({ keys, timeoutMs }: { keys: string[] | null; timeoutMs: number }) =>
      callStacks(scheduler, keys, timeoutMs)
  };
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
