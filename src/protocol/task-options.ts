/** Task options that ask for nothing, and the graph that ends what a client says again. */
import type { TaskOptions, UpdateGraph } from './messages.ts';

/** What tasks have for which nothing was asked. */
export const NO_TASK_OPTIONS: TaskOptions = {
  priority: 0,
  retries: 0,
  timeout: 0,
  workers: null,
  allowOtherWorkers: false,
  resources: null
};

/** Ends what a client says again: no task, and all that came before may start. */
export const LAST_GRAPH: UpdateGraph = {
  op: 'update-graph',
  first: 0,
  keys: [],
  fn: 0,
  args: new Uint8Array(0),
  argOffsets: [0],
  deps: [],
  depOffsets: [],
  options: NO_TASK_OPTIONS,
  fifoTimeout: 0,
  wants: 'all',
  again: 'last'
};
