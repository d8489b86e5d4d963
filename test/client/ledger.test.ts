/** The ledger against a model that keeps everything and looks through all of it. */
import { describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { Ledger } from '../../src/client/state/ledger.ts';
import type { ClientToScheduler, UpdateGraph } from '../../src/protocol/messages.ts';
import { NO_TASK_OPTIONS } from '../../src/protocol/task-options.ts';

interface Known {
  fn: number;
  arg: number;
  deps: number[];
  wanted: boolean;
}

function graph(first: number, tasks: readonly Known[]): UpdateGraph {
  const deps = tasks.flatMap(task => task.deps);
  let at = 0;
  const offsets = [0, ...tasks.map(task => (at += task.deps.length))];
  return {
    op: 'update-graph',
    first,
    keys: tasks.map((_, i) => `k-${first + i}`),
    fn: tasks.map(task => task.fn),
    args: Uint8Array.from(tasks.map(task => task.arg)),
    argOffsets: [...tasks.keys(), tasks.length],
    deps,
    depOffsets: deps.length === 0 ? [] : offsets,
    options: NO_TASK_OPTIONS,
    fifoTimeout: 0,
    wants: 'all'
  };
}

/** Numbers that are wanted or that a kept one stands on. */
function keptOf(known: ReadonlyMap<number, Known>): number[] {
  const kept = new Set<number>();
  const stack = [...known].filter(([, task]) => task.wanted).map(([cid]) => cid);
  for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) {
    if (kept.has(cid)) continue;
    kept.add(cid);
    stack.push(...(known.get(cid)?.deps ?? []));
  }
  return [...kept].sort((a, b) => a - b);
}

function check(ledger: Ledger, known: ReadonlyMap<number, Known>): void {
  const said = ledger.resume(() => ({ pending: true, error: null }));
  expect(said.at(-1)).toMatchObject({ op: 'update-graph', again: 'last' });
  const found = new Map<number, Known>();
  for (const message of said as ClientToScheduler[]) {
    if (message.op !== 'update-graph' || message.again !== 'part') continue;
    message.cids?.forEach((cid, i) => {
      const deps = message.deps.slice(message.depOffsets[i] ?? 0, message.depOffsets[i + 1] ?? 0);
      const wanted = message.wants === 'all' || message.wants.includes(cid);
      expect(message.keys[i]).toBe(`k-${cid}`);
      const arg = message.args[message.argOffsets[i] as number] as number;
      found.set(cid, { fn: (message.fn as number[])[i] as number, arg, deps, wanted });
    });
  }
  const kept = keptOf(known);
  expect([...found.keys()]).toEqual(kept);
  for (const cid of kept) expect(found.get(cid)).toEqual(known.get(cid));
  expect(ledger.size).toBe(kept.length);
}

describe('a ledger', () => {
  it.each([1, 2, 3, 4, 5, 6])('keeps exactly what wanted keys stand on (seed %i)', seed => {
    const rng = new Rng(seed);
    const ledger = new Ledger();
    const known = new Map<number, Known>();
    for (const fn of [1, 2])
      ledger.note(
        { op: 'register-function', fn, hash: `${fn}`, name: 'f', blob: new Uint8Array(1) },
        true
      );
    let next = 1;
    for (let step = 0; step < 120; step++) {
      const count = rng.chance(0.2) ? rng.integer(60, 400) : rng.integer(1, 5);
      const tasks: Known[] = [];
      for (let i = 0; i < count; i++) {
        // Only of what is still there can a program speak.
        const alive = [...known].slice(-50).filter(([, task]) => task.wanted);
        const deps =
          alive.length > 0 && rng.chance(0.4) ? [alive[rng.integer(0, alive.length - 1)]![0]] : [];
        tasks.push({ fn: rng.integer(1, 2), arg: rng.integer(0, 255), deps, wanted: true });
      }
      ledger.note(graph(next, tasks), true);
      for (const task of tasks) known.set(next++, task);
      const wanted = [...known].filter(([, task]) => task.wanted).map(([cid]) => cid);
      const released = wanted.filter(() => rng.chance(0.3));
      ledger.note({ op: 'client-releases-keys', cids: released }, true);
      for (const cid of released) (known.get(cid) as Known).wanted = false;
      if (step % 10 === 0) check(ledger, known);
    }
    const rest = [...known].filter(([, task]) => task.wanted).map(([cid]) => cid);
    ledger.note({ op: 'client-releases-keys', cids: rest }, true);
    ledger.note({ op: 'release-functions', fns: [1, 2] }, true);
    expect(ledger.size).toBe(0);
    expect(ledger.resume(() => ({ pending: true, error: null }))).toHaveLength(1);
  });

  it('says a cancel where it was said, and holds its keys until then', () => {
    const ledger = new Ledger();
    ledger.note(
      { op: 'register-function', fn: 1, hash: 'f', name: 'f', blob: new Uint8Array(1) },
      true
    );
    const task = { fn: 1, arg: 0, deps: [], wanted: true };
    ledger.note(graph(1, [task]), true);
    ledger.note({ op: 'cancel-keys', cids: [1], force: true, reason: 'x' }, false);
    ledger.note(graph(2, [task]), false);
    const ops = ledger.resume(() => ({ pending: true, error: null })).map(message => message.op);
    expect(ops).toEqual([
      'register-function',
      'update-graph',
      'cancel-keys',
      'update-graph',
      'update-graph'
    ]);
    expect(ledger.size).toBe(1);
  });
});
