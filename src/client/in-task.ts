/**
 * What a task may ask for: a client of its own cluster, the worker that runs it, and to leave its
 * slot to others. A task that waits for futures of that client leaves its slot by itself.
 */
import { CommClosedError, ConfigError, TimeoutError } from '../base/errors.ts';
import { RECONNECT_MS } from '../comm/redial.ts';
import { executorContext } from '../base/task-context.ts';
import type { ExecutorContext, TaskContext, TaskWorker } from '../base/task-context.ts';
import { Client } from './client.ts';

/** ms between two dials of a scheduler that does not answer. */
const PAUSE_MS = 250;

let client: Promise<Client> | null = null;

/**
 * In a task: a client of the cluster that runs it. All tasks of one executor thread share it; it
 * ends with the thread. While a task waits for its futures, other tasks have its slot.
 */
export async function getClient(): Promise<Client> {
  const { scheduler, worker } = executor('getClient');
  const open = await client?.catch(() => null);
  if (open?.session.isOpen !== true) {
    client = connectPatiently(scheduler, `tasks of ${worker.name}`);
  }
  return client as Promise<Client>;
}

/** As long as a worker dials a scheduler that is away, its tasks do. */
async function connectPatiently(
  scheduler: ExecutorContext['scheduler'],
  name: string
): Promise<Client> {
  const until = performance.now() + RECONNECT_MS;
  for (;;) {
    try {
      return await Client.connect(scheduler, { name });
    } catch (error) {
      const away = error instanceof CommClosedError || error instanceof TimeoutError;
      if (!away || performance.now() > until) throw error;
      await new Promise(resolve => setTimeout(resolve, PAUSE_MS));
    }
  }
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
