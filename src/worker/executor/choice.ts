/** Which executor a task goes to, and which tasks wait behind another's. */
import type { Executor, Handed } from './executor.ts';
import type { TaskToRun } from './pool-options.ts';

/** The idle executor with most of the task's inputs, else the one with the shortest queue. */
export function choose(
  executors: readonly Executor[],
  task: TaskToRun,
  sizeOf: (tid: number) => number
): Executor | null {
  let best = executors[0] ?? null;
  if (executors.length < 2) return best;
  let bestQueue = Number.POSITIVE_INFINITY;
  let bestLive = -1;
  for (const executor of executors) {
    if (executor.room === 0) continue;
    const queue = executor.queue.size;
    if (queue > bestQueue) continue;
    let live = 0;
    for (const tid of task.deps) if (executor.live.has(tid)) live += sizeOf(tid);
    if (queue === bestQueue && live <= bestLive) continue;
    best = executor;
    bestQueue = queue;
    bestLive = live;
  }
  return best;
}

/** The executor with the longest queue, and the later half of what waits in it; null: nothing does. */
export function longestQueue(
  executors: readonly Executor[]
): { from: Executor; half: Handed[] } | null {
  let from: Executor | null = null;
  for (const executor of executors) {
    if (executor.queue.size > Math.max(1, from?.queue.size ?? 1)) from = executor;
  }
  if (from === null) return null;
  const waiting = [...from.queue.values()].filter(task => !from.hasBegun(task));
  // The nearest half stays where it is: it is about to be run.
  return { from, half: waiting.slice(Math.floor(waiting.length / 2)) };
}
