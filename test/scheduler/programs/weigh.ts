/**
 * Prints the bytes of heap that a waiting task takes in the scheduler's state:
 * `node --expose-gc weigh.ts COUNT`. Keys are made as they come from a link, one string each.
 */
import { NO_TASK_OPTIONS } from '../../../src/protocol/task-options.ts';
import { DEFAULT_OPTIONS, SchedulerState } from '../../../src/scheduler/state/state.ts';

const count = Number(process.argv[2]);
const collect = (globalThis as { gc?: () => void }).gc ?? (() => undefined);
const cluster = { id: 'weigh', name: 'weigh', kind: 'test' };
const state = new SchedulerState({
  ...DEFAULT_OPTIONS,
  storyLines: 100,
  streamLines: 100,
  cluster
});
state.handle({ type: 'add-client', client: 'c', name: 'c' }, 0);
const fn = {
  op: 'register-function',
  fn: 1,
  hash: 'h',
  name: 'f',
  blob: new Uint8Array(9)
} as const;
state.handle({ type: 'client-message', client: 'c', message: fn }, 0);

const BATCH = 10_000;
function submit(first: number, size: number, deps: number[], depOffsets: number[]): void {
  const message = {
    op: 'update-graph' as const,
    first,
    keys: Array.from({ length: size }, (_, i) => Buffer.from(`f-12ab34cd-${first + i}`).toString()),
    fn: 1,
    args: new Uint8Array(16 * size),
    argOffsets: Array.from({ length: size + 1 }, (_, i) => 16 * i),
    deps,
    depOffsets,
    options: NO_TASK_OPTIONS,
    fifoTimeout: 100,
    wants: 'all' as const
  };
  state.handle({ type: 'client-message', client: 'c', message }, first);
}

submit(1, 1, [], []);
collect();
const before = process.memoryUsage();
for (let made = 0; made < count; made += BATCH) {
  const all = Array.from({ length: BATCH }, () => 1);
  submit(
    2 + made,
    BATCH,
    all,
    Array.from({ length: BATCH + 1 }, (_, i) => i)
  );
}
collect();
const after = process.memoryUsage();
const bytes = after.heapUsed - before.heapUsed + (after.arrayBuffers - before.arrayBuffers);
if (state.tasks.size !== count + 1) throw new Error('not all tasks arrived');
console.log(bytes / count);
