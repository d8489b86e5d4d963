/**
 * Bugs that the simulation must find, as edits of the sources: `find` stands exactly once in `file`
 * (test/sim/mutants.test.ts holds that) and is replaced. Each is a slip that a change could bring.
 */
export interface Mutant {
  /** What the slip is, in words. */
  name: string;
  file: string;
  find: string;
  replace: string;
  /** It takes more than a thousand seeds or so. */
  rare?: true;
}

const SCHEDULER = 'src/scheduler/state';
const WORKER = 'src/worker/state';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'a guard is removed: what is needed again is released all the same',
    file: `${SCHEDULER}/transitions.ts`,
    find: `if (finish === 'released' && task.needed && holds) return;`,
    replace: ``
  },
  {
    name: 'the scheduler takes a result of a stale run for that of the present one',
    file: `${SCHEDULER}/worker-events.ts`,
    find: `task.processingOn === worker && task.runId === runId ? task : null;`,
    replace: `task.processingOn === worker ? task : null;`,
    rare: true
  },
  {
    name: 'a worker reports what it runs under the run number of the first request',
    file: `${WORKER}/handlers.ts`,
    find: `    task.runId = runId;
`,
    replace: `    if (task.execution === 0) task.runId = runId;
`,
    rare: true
  },
  {
    name: 'dependents are recommended forward: the last is placed first',
    file: `${SCHEDULER}/transitions.ts`,
    find: `for (let i = dependents.length - 1; i >= 0; i--) {`,
    replace: `for (let i = 0; i < dependents.length; i++) {`
  },
  {
    name: 'a dead worker stays in who-has',
    file: `${SCHEDULER}/worker-events.ts`,
    find: `    removeReplica(state, task, worker);
    if (mayReturn > 0)`,
    replace: `    if (mayReturn > 0)`
  },
  {
    name: 'a steal without confirmation: the thief is given what the victim runs',
    file: `${SCHEDULER}/stealing.ts`,
    find: `switch (states[i]) {`,
    replace: `switch ('ready' as string) {`
  },
  {
    name: 'bytes are counted twice when a worker tells of a copy again',
    file: `${SCHEDULER}/replicas.ts`,
    find: `if (worker.hasWhat.has(task)) return;
  worker.hasWhat.add(task);`,
    replace: `worker.hasWhat.add(task);`
  },
  {
    name: 'the memory manager drops the last copy',
    file: `${SCHEDULER}/replicas.ts`,
    find: `for (const other of task.whoHas) if (other !== worker && !leaves(state, other)) return true;
  return false;`,
    replace: `return true;`,
    rare: true
  },
  {
    name: 'the value of a cancelled execution stays in the store',
    file: `${WORKER}/transitions.ts`,
    find: `  core.dropData(task.tid);
  endCancelled(core, task);`,
    replace: `  endCancelled(core, task);`
  },
  {
    name: 'a stale result is not let go of',
    file: `${SCHEDULER}/worker-events.ts`,
    find: `if (task !== undefined && (task.processingOn === worker || worker.hasWhat.has(task))) return;
  state.outbox.free(worker, tid);`,
    replace: ``
  },
  {
    name: 'what waits is not told that an input was lost',
    file: `${SCHEDULER}/transitions.ts`,
    find: `if (dependent.state === 'waiting') dependent.waitingOn++;`,
    replace: `if (dependent.state === 'waiting') continue;`
  },
  {
    name: 'what is fetched from a peer that leaves is not fetched from another',
    file: `${WORKER}/handlers.ts`,
    find: `  for (const task of tasks) core.recommend(task, 'fetch');
  dropPeer(core, worker);`,
    replace: `  dropPeer(core, worker);`
  },
  {
    name: 'a busy peer is never asked again',
    file: `${WORKER}/handlers.ts`,
    find: `core.push({ op: 'retry-busy', worker, after: core.options.busyRetry });`,
    replace: ``
  },
  {
    name: 'deaths of workers are not counted: a task takes down one after the other',
    file: `${SCHEDULER}/worker-events.ts`,
    find: `++task.suspicious > state.options.allowedFailures`,
    replace: `task.suspicious > state.options.allowedFailures`
  },
  {
    name: 'a worker hands out its resources and does not get them back',
    file: `${WORKER}/slots.ts`,
    find: `core.available[name] = (core.available[name] ?? 0) + amount;`,
    replace: `core.available[name] = core.available[name] ?? 0;`
  },
  {
    name: 'a retry does not use up what it has',
    file: `${SCHEDULER}/worker-events.ts`,
    find: `    task.retries--;
`,
    replace: ``
  },
  {
    name: 'what a client wanted stays when it has gone',
    file: `${SCHEDULER}/client-events.ts`,
    find: `for (const binding of [...client.bindings.values()].reverse()) unbind(state, binding);`,
    replace: ``
  },
  {
    name: 'the file of a value that nobody needs any more stays on disk',
    file: `${WORKER}/memory.ts`,
    find: `    if (held.busy === 'no') this.deleteFile(held);
`,
    replace: ``
  },
  {
    name: 'values are spilled while a task uses them',
    file: `${WORKER}/memory.ts`,
    find: `else if (held.pins === 0) this.letGo(held);`,
    replace: `else this.letGo(held);`
  },
  {
    name: 'a value that a worker brings to the next scheduler is not taken over',
    file: `${SCHEDULER}/recovery.ts`,
    find: `return takeValue(state, worker, task, nbytes, type) ? task.id : -1;`,
    replace: `return takeValue(state, worker, task, nbytes, type) && i > 0 ? task.id : -1;`
  },
  {
    name: 'a key that a client has submitted is not said again',
    file: 'src/client/state/ledger.ts',
    find: `for (const dep of deps) this.change(dep, 2, null);`,
    replace: ``
  },
  {
    name: 'a worker starts the least urgent task first',
    file: `${WORKER}/tasks.ts`,
    find: `if (left !== right) return left < right ? -1 : 1;`,
    replace: `if (left !== right) return left < right ? 1 : -1;`
  },
  {
    name: 'restrictions to workers are forgotten',
    file: `${SCHEDULER}/placement.ts`,
    find: `if (names === null || isNamed(worker, names)) named.push(worker);`,
    replace: `named.push(worker);`
  }
];
