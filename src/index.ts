/** What `import … from "taskloom"` gives in Node, Deno and TypeScript notebooks. */
export { Client } from './client/client.ts';
export type {
  Arg,
  Args,
  CallOptions,
  ClusterLike,
  ConnectOptions,
  SchedulerInfo
} from './client/client.ts';
export type { CallStack, Member, StoryLine, Versions } from './client/diagnostics.ts';
export { AsCompleted, asCompleted, wait } from './client/collect.ts';
export type { WaitResult } from './client/collect.ts';
export { Future } from './client/future.ts';
export { fireAndForget } from './client/lasting.ts';
export type { RetiredWorker, RetireOptions } from './client/placement.ts';
export type { WaitOptions } from './client/future.ts';
export type { Warning } from './client/session.ts';
export { getClient, getWorker, rejoin, secede } from './client/in-task.ts';
export type { TaskWorker } from './base/task-context.ts';
export { LocalCluster } from './deploy/local.ts';
export type { LocalClusterOptions } from './deploy/local.ts';
export type { AdaptOptions } from './deploy/api.ts';
export { progress } from './kernel/progress.ts';
export type { ProgressOptions } from './kernel/progress.ts';
export { ArrowData, NdArray } from './serialize/arrays.ts';
export type { NdItems } from './serialize/arrays.ts';
export * from './base/errors.ts';
