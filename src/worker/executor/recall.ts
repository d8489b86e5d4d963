/**
 * Taking tasks back, and ending them: at once from a thread, by asking from a Python process, which
 * answers when its interpreter gets to it. Meanwhile the task may begin, or end and be told of.
 */
import type { Executor } from './executor.ts';
import type { GivenTasks, Running } from './given.ts';
import type { PoolEvents } from './pool-options.ts';

/** Whoever hears what came of it; null: nobody any more. */
type Ears = () => PoolEvents | null;

/** Takes back what has not begun: each task is told by onReturned or onKept. */
export function recall(
  given: GivenTasks,
  tids: readonly number[],
  runIds: readonly number[],
  ears: Ears
): void {
  const returned: number[] = [];
  const kept: number[] = [];
  const asked = new Map<Executor, Running[]>();
  const runOf = new Map(tids.map((tid, i) => [tid, runIds[i] as number]));
  for (const [tid, runId] of runOf) {
    const entry = given.find(tid, runId);
    if (given.stopLoading(tid, runId)) returned.push(tid);
    else if (entry?.executor.recall(entry.handed) === true) {
      given.forget(tid);
      returned.push(tid);
    } else if (entry?.executor.language === 'python') {
      const those = asked.get(entry.executor);
      if (those === undefined) asked.set(entry.executor, [entry]);
      else those.push(entry);
    } else kept.push(tid);
  }
  tell(returned, kept, runOf, ears);
  for (const [executor, entries] of asked) void recallLater(given, executor, entries, runOf, ears);
}

async function recallLater(
  given: GivenTasks,
  executor: Executor,
  entries: readonly Running[],
  runOf: ReadonlyMap<number, number>,
  ears: Ears
): Promise<void> {
  const back = new Set(await executor.recallLater(entries.map(({ handed }) => handed)));
  if (ears() === null) return;
  // What has ended meanwhile was told otherwise.
  const open = entries.filter(entry => given.running.get(entry.task.tid) === entry);
  const returned = open.filter(({ handed }) => back.has(handed)).map(({ task }) => task.tid);
  const kept = open.filter(({ handed }) => !back.has(handed)).map(({ task }) => task.tid);
  for (const tid of returned) given.forget(tid);
  tell(returned, kept, runOf, ears);
}

function tell(
  returned: number[],
  kept: number[],
  runOf: ReadonlyMap<number, number>,
  ears: Ears
): void {
  const runs = (of: number[]): number[] => of.map(tid => runOf.get(tid) as number);
  if (returned.length > 0) ears()?.onReturned(returned, runs(returned));
  if (kept.length > 0) ears()?.onKept(kept, runs(kept));
}

/** Ends an execution, and its executor if it runs there; `onKilled` follows unless it ended first. */
export function kill(given: GivenTasks, tid: number, runId: number, ears: Ears): void {
  if (given.stopLoading(tid, runId)) return ears()?.onKilled(tid, runId);
  const entry = given.find(tid, runId);
  if (entry === undefined) return;
  const { executor, handed } = entry;
  const killed = (): void => {
    given.forget(tid);
    ears()?.onKilled(tid, runId);
  };
  const end = (): void => {
    given.killing.add(tid);
    executor.kill();
  };
  if (executor.recall(handed)) return killed();
  if (executor.language !== 'python' || executor.hasBegun(handed)) return end();
  void executor.recallLater([handed]).then(back => {
    if (given.running.get(tid) !== entry) return;
    if (back.length === 0) end();
    else killed();
  });
}
