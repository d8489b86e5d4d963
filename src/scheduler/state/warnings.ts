/**
 * What a user should hear of at once although nothing has failed: restrictions that no worker
 * meets, and keys that stand for something else already. Said once a submission, to the clients
 * that submitted the task or something that stands on it.
 */
import { smallList } from '../../base/small-set.ts';
import type { UpdateGraph } from '../../protocol/messages.ts';
import type { Binding, ClientRecord } from './clients.ts';
import { isAble, isNamed } from './placement.ts';
import type { SchedulerState } from './state.ts';
import type { Demands, Task } from './tasks.ts';

/** ms that workers which are only just coming have before restrictions count as not met. */
const ARRIVAL_MS = 1000;

/** What has been said, and what is to be looked at again. */
export class Warnings {
  readonly said = new WeakSet<Demands>();
  /** When to look through the tasks that no worker may run; Infinity = no need. */
  lookAt = Infinity;
}

/** `workers a, b` and `resources {"GPU":1}`, or '' when the tasks ask for nothing. */
export function wishes({ workers, resources, language }: Demands): string {
  const parts = [
    workers === null ? '' : `workers ${workers.join(', ')}`,
    resources === null ? '' : `resources ${JSON.stringify(resources)}`,
    language === null ? '' : 'Python executors'
  ];
  return parts.filter(text => text !== '').join(' with ');
}

/** What is to be done when no worker speaks the language of a task, or ''. */
export function remedy({ language }: Pick<Demands, 'language'>): string {
  if (language !== 'python') return '';
  return (
    ' A worker runs Python tasks when its option python (or the variable TASKLOOM_PYTHON) names an ' +
    'interpreter in which taskloom is installed; its log says why it has none.'
  );
}

/** No worker may run the task now: if none that is here ever could, say so. */
export function warnUnmet(state: SchedulerState, task: Task): void {
  const { demands } = task;
  if (state.workers.size === 0 || state.warnings.said.has(demands) || isMet(state, demands)) return;
  state.warnings.said.add(demands);
  const text =
    `Tasks that ask for ${wishes(demands)} cannot run: none of the workers of this cluster is that. ` +
    `They wait until such a worker comes.${remedy(demands)}`;
  for (const { client, cid } of audience(task)) {
    state.outbox.warning(client, 'NO_VALID_WORKER', text, cid);
  }
}

/** Workers have come: what they cannot run either is looked at when the others have had time. */
export function workersCame(state: SchedulerState): void {
  if (state.unrunnable.size > 0) state.warnings.lookAt = state.now + ARRIVAL_MS;
}

/** Looks again, when it is time. */
export function lookForUnmet(state: SchedulerState): void {
  if (state.now < state.warnings.lookAt) return;
  state.warnings.lookAt = Infinity;
  for (const task of state.unrunnable.keys()) warnUnmet(state, task);
}

/** Paused workers count: they will run again. */
function isMet(state: SchedulerState, demands: Demands): boolean {
  for (const worker of state.workers.values()) {
    if (!isAble(worker, demands)) continue;
    if (demands.workers === null || demands.allowOtherWorkers) return true;
    if (isNamed(worker, demands.workers)) return true;
  }
  return false;
}

/** Bindings of the task, or of the nearest of its dependents that a client speaks of. */
function audience(task: Task): Binding[] {
  const seen = new Set([task]);
  for (const one of seen) {
    const bindings = smallList(one.bindings);
    if (bindings.length > 0) return bindings;
    for (const dependent of smallList(one.dependents)) seen.add(dependent);
  }
  return [];
}

/** The client submits a key that stands for a task already: that task stays what it is. */
export function warnCollision(
  state: SchedulerState,
  client: ClientRecord,
  message: UpdateGraph,
  i: number,
  task: Task
): void {
  const what = difference(state, client, message, i, task);
  if (what === null) return;
  const text =
    `Keys were submitted again with ${what}. The tasks of the first submission stay, and their results ` +
    `are what the futures give. Use other keys, or release the futures of the first.`;
  state.outbox.warning(client, 'KEY_COLLISION', text, message.first + i);
}

function difference(
  state: SchedulerState,
  client: ClientRecord,
  message: UpdateGraph,
  i: number,
  task: Task
): string | null {
  // Data has no function that another could differ from.
  if (task.fn === null) return null;
  const fn = typeof message.fn === 'number' ? message.fn : (message.fn[i] as number);
  if (client.functions.get(fn) !== task.fn) return 'another function';
  const inputs = state.repeats.get(task) ?? task.deps;
  const from = message.depOffsets[i] ?? 0;
  const to = message.depOffsets[i + 1] ?? 0;
  if (to - from !== inputs.length) return 'other dependencies';
  for (let k = 0; k < inputs.length; k++) {
    const dep = client.bindings.get(message.deps[from + k] as number)?.task;
    if (dep !== inputs[k]) return 'other dependencies';
  }
  const start = message.argOffsets[i] as number;
  const length = (message.argOffsets[i + 1] as number) - start;
  if (length !== task.argEnd - task.argStart) return 'other arguments';
  for (let k = 0; k < length; k++) {
    if (message.args[start + k] !== task.args[task.argStart + k]) return 'other arguments';
  }
  return null;
}
