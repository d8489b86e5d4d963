/**
 * What a task may ask for: a client of its own cluster, the worker that runs it, and to leave its
 * slot to others. A task that waits for futures of that client leaves its slot by itself.
 */
import { ConfigError } from '../base/errors.ts';
import { executorContext } from '../base/task-context.ts';
import type { ExecutorContext, TaskContext, TaskWorker } from '../base/task-context.ts';
import { Client } from './client.ts';

let client: Promise<Client> | null = null;

/**
 * In a task: a client of the cluster that runs it. All tasks of one executor thread share it; it
 * ends with the thread. While a task waits for its futures, other tasks have its slot.
 */
export async function getClient(): Promise<Client> {
  const { scheduler, worker } = executor('getClient');
  const open = await client?.catch(() => null);
  if (open?.session.isOpen !== true) {
    client = Client.connect(scheduler, { name: `tasks of ${worker.name}` });
  }
  return client as Promise<Client>;
}

/** In a task: the worker that runs it. */
export function getWorker(): TaskWorker {
  return { ...executor('getWorker').worker };
}

/** In a task: leaves its slot to other tasks and goes on beside them. */
export function secede(): void {
  running('secede').secede();
}

/** In a task that has seceded: waits until it has its executor to itself again. */
export function rejoin(): Promise<void> {
  return running('rejoin').rejoin();
}

function executor(what: string): ExecutorContext {
  const context = executorContext();
  if (context !== null) return context;
  throw new ConfigError(
    `${what}() works in a task only. Elsewhere use Client.connect() and what it gives.`
  );
}

function running(what: string): TaskContext {
  const task = executor(what).current();
  if (task !== null) return task;
  throw new ConfigError(`${what}() was called when the task it belongs to had ended already.`);
}
