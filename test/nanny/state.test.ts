/**
 * The nanny's decisions, without a process: events in, instructions out.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NannyEvent, NannyInstruction, ProcessEnd } from '../../src/nanny/state/events.ts';
import { NannyState } from '../../src/nanny/state/state.ts';
import type { NannySettings } from '../../src/nanny/state/state.ts';

const GIB = 2 ** 30;

function end(fields: Partial<ProcessEnd> = {}): ProcessEnd {
  return {
    pid: 100,
    code: null,
    signal: null,
    startError: null,
    said: null,
    kernelKilled: false,
    lastLines: [],
    ...fields
  };
}

/** A state that is driven by hand; `run` returns the instructions of one event. */
class Driver {
  readonly state: NannyState;
  now = 1000;

  constructor(settings: Partial<NannySettings> = {}) {
    this.state = new NannyState(settings);
  }

  run(event: NannyEvent): NannyInstruction[] {
    const instructions = this.state.handle(event, this.now);
    this.state.validate();
    return instructions;
  }

  /** Has `workers` that run. */
  running(workers: number): this {
    for (const instruction of this.run({ type: 'scale', workers, close: [] })) {
      if (instruction.op === 'spawn') this.run({ type: 'worker-ready', name: instruction.name });
    }
    return this;
  }

  exit(name: string, fields: Partial<ProcessEnd> = {}): NannyInstruction[] {
    return this.run({ type: 'worker-exited', name, end: end(fields) });
  }

  /** Moves the clock to the next wake and ticks. */
  wake(): NannyInstruction[] {
    this.now = this.state.nextWake ?? this.now;
    return this.run({ type: 'tick' });
  }
}

const spawned = (instructions: NannyInstruction[]): string[] =>
  instructions.flatMap(each => (each.op === 'spawn' ? [each.name] : []));
const asked = (instructions: NannyInstruction[]): string[] =>
  instructions.flatMap(each => (each.op === 'ask' ? [each.name] : []));
const exitOf = (instructions: NannyInstruction[]): { reason: string; expected: boolean } => {
  const exit = instructions.find(each => each.op === 'worker-exited');
  if (exit?.op !== 'worker-exited') throw new Error('no exit was reported');
  return { reason: exit.reason, expected: exit.expected };
};

describe('scale', () => {
  it('starts all at once and says how many are starting', () => {
    const nanny = new Driver();
    const out = nanny.run({ type: 'scale', workers: 3, close: [] });
    expect(spawned(out)).toEqual(['worker-0', 'worker-1', 'worker-2']);
    expect(out.at(-1)).toEqual({ op: 'nanny-status', target: 3, starting: 3, reason: null });
    const ready = nanny.run({ type: 'worker-ready', name: 'worker-1' });
    expect(ready).toEqual([{ op: 'nanny-status', target: 3, starting: 2, reason: null }]);
  });

  it('ends those named first, then the youngest', () => {
    const nanny = new Driver().running(4);
    const out = nanny.run({ type: 'scale', workers: 2, close: ['worker-0'] });
    expect(asked(out)).toEqual(['worker-0', 'worker-3']);
    expect(exitOf(nanny.exit('worker-0', { code: 0 }))).toEqual({
      reason: 'scaled down',
      expected: true
    });
  });

  it('gives a new worker in place of one that was named without scaling down', () => {
    const nanny = new Driver().running(2);
    const out = nanny.run({ type: 'scale', workers: 2, close: ['worker-1'] });
    expect(asked(out)).toEqual(['worker-1']);
    expect(spawned(out)).toEqual(['worker-2']);
  });

  it('never uses a name again', () => {
    const nanny = new Driver().running(2);
    nanny.run({ type: 'scale', workers: 1, close: [] });
    nanny.exit('worker-1', { code: 0 });
    expect(spawned(nanny.run({ type: 'scale', workers: 2, close: [] }))).toEqual(['worker-2']);
  });

  it('forgets a waiting worker without a process to end', () => {
    const nanny = new Driver().running(1);
    nanny.exit('worker-0', { signal: 'SIGKILL' });
    expect(asked(nanny.run({ type: 'scale', workers: 0, close: [] }))).toEqual([]);
    expect(nanny.state.list()).toEqual([]);
    expect(nanny.state.nextWake).toBeNull();
  });

  it('kills a worker that does not end when asked', () => {
    const nanny = new Driver().running(1);
    nanny.run({ type: 'scale', workers: 0, close: [] });
    expect(nanny.wake()).toEqual([{ op: 'signal', name: 'worker-0', signal: 'SIGKILL' }]);
  });
});

describe('a worker that ends unasked', () => {
  it.each([
    [{ signal: 'SIGKILL' }, 'killed by SIGKILL'],
    [{ signal: 'SIGSEGV' }, 'killed by SIGSEGV'],
    [{ signal: 'SIGKILL', kernelKilled: true }, "killed by the kernel's out-of-memory killer"],
    [{ code: 3 }, 'exit code 3'],
    [{ code: 1, said: 'it crashed: boom' }, 'it crashed: boom'],
    [{ startError: 'spawn ENOENT' }, 'its process could not be started: spawn ENOENT']
  ])('is reported at once, with the reason: %o', (fields, reason) => {
    const nanny = new Driver().running(1);
    const out = nanny.exit('worker-0', { ...fields, pid: 7, lastLines: ['last words'] });
    expect(out[0]).toEqual({
      op: 'worker-exited',
      name: 'worker-0',
      pid: 7,
      reason,
      expected: false,
      lastLines: ['last words']
    });
  });

  it('says how much memory it used when it was killed from outside', () => {
    const nanny = new Driver({ memoryLimit: 2 * GIB }).running(1);
    nanny.run({ type: 'worker-memory', name: 'worker-0', rss: 1.5 * GIB });
    const { reason } = exitOf(nanny.exit('worker-0', { signal: 'SIGKILL' }));
    expect(reason).toBe('killed by SIGKILL (it used 1.5 GiB of 2 GiB of memory when last seen)');
  });

  it('starts again after 0.1 s, doubling to 10 s, and is given up after ten', () => {
    const nanny = new Driver().running(1);
    const delays: number[] = [];
    for (let i = 0; i < 10; i++) {
      nanny.exit('worker-0', { code: 1 });
      delays.push((nanny.state.nextWake ?? NaN) - nanny.now);
      expect(spawned(nanny.wake())).toEqual(['worker-0']);
    }
    expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    const out = nanny.exit('worker-0', { code: 1 });
    expect(nanny.state.nextWake).toBeNull();
    const status = out.find(each => each.op === 'nanny-status');
    expect(status).toMatchObject({ target: 1, starting: 0 });
    expect(status?.op === 'nanny-status' && status.reason).toMatch(
      /worker-0: exit code 1.*11 times/
    );
    expect(spawned(nanny.run({ type: 'restart-workers', names: null }))).toEqual(['worker-0']);
  });

  it('begins with 0.1 s again when its ends are more than a minute apart', () => {
    const nanny = new Driver().running(1);
    for (let i = 0; i < 30; i++) {
      nanny.exit('worker-0', { code: 1 });
      expect((nanny.state.nextWake ?? NaN) - nanny.now).toBe(100);
      nanny.wake();
      nanny.run({ type: 'worker-ready', name: 'worker-0' });
      nanny.now += 61_000;
    }
  });

  it('ends the nanny, with its last lines, when no worker has ever run', () => {
    const nanny = new Driver();
    nanny.run({ type: 'scale', workers: 1, close: [] });
    nanny.exit('worker-0', { code: 1 });
    nanny.wake();
    nanny.exit('worker-0', { code: 1 });
    nanny.wake();
    const out = nanny.exit('worker-0', { code: 1, lastLines: ['no such module'] });
    expect(out.at(-1)).toEqual({
      op: 'finished',
      reason: 'Workers do not start. worker-0: exit code 1\n  no such module'
    });
  });

  it('is killed and started again when it does not register in time', () => {
    const nanny = new Driver({ startLimitMs: 5000 }).running(1);
    nanny.run({ type: 'scale', workers: 2, close: [] });
    expect(nanny.wake()).toEqual([{ op: 'signal', name: 'worker-1', signal: 'SIGKILL' }]);
    const { reason, expected } = exitOf(nanny.exit('worker-1', { signal: 'SIGKILL' }));
    expect(reason).toBe('it did not register within 5 s');
    expect(expected).toBe(false);
  });
});

describe('memory', () => {
  it('ends a worker twice beyond 95 % of its limit, first kindly, then not', () => {
    const nanny = new Driver({ memoryLimit: 2 * GIB }).running(1);
    for (const rss of [1.9 * GIB, 1.96 * GIB, 1.9 * GIB, 1.96 * GIB]) {
      expect(nanny.run({ type: 'worker-memory', name: 'worker-0', rss })).toEqual([]);
    }
    const out = nanny.run({ type: 'worker-memory', name: 'worker-0', rss: 1.96 * GIB });
    expect(out[0]).toEqual({ op: 'signal', name: 'worker-0', signal: 'SIGTERM' });
    expect(nanny.run({ type: 'worker-memory', name: 'worker-0', rss: 2 * GIB })).toEqual([]);
    expect(nanny.wake()).toEqual([{ op: 'signal', name: 'worker-0', signal: 'SIGKILL' }]);
    const exit = exitOf(nanny.exit('worker-0', { signal: 'SIGKILL' }));
    expect(exit.expected).toBe(false);
    expect(exit.reason).toMatch(/^out of memory \(limit 2 GiB\): it used 2.0 GiB/);
    expect(spawned(nanny.wake())).toEqual(['worker-0']);
  });

  it('ends one whose processes pass its limit, if that lasts', () => {
    const nanny = new Driver({ memoryLimit: 2 * GIB }).running(1);
    const read = (tree: number): unknown[] =>
      nanny.run({ type: 'worker-memory', name: 'worker-0', rss: GIB, tree });
    for (let i = 0; i < 20; i++) expect(read(1.99 * GIB)).toEqual([]);
    for (let i = 0; i < 7; i++) expect(read(2.1 * GIB)).toEqual([]);
    expect(read(2.1 * GIB)[0]).toEqual({ op: 'signal', name: 'worker-0', signal: 'SIGTERM' });
    const exit = exitOf(nanny.exit('worker-0', { signal: 'SIGTERM' }));
    expect(exit.reason).toMatch(/it used 2.1 GiB/);
  });

  it('has no limit when there is none', () => {
    const nanny = new Driver({ memoryLimit: 0 }).running(1);
    expect(nanny.run({ type: 'worker-memory', name: 'worker-0', rss: 900 * GIB })).toEqual([]);
  });
});

describe('restart and close', () => {
  it('restarts workers without delay and without blame', () => {
    const nanny = new Driver().running(2);
    expect(asked(nanny.run({ type: 'restart-workers', names: null }))).toHaveLength(2);
    const out = nanny.exit('worker-0', { code: 0 });
    expect(exitOf(out)).toEqual({ reason: 'restarted', expected: true });
    expect(spawned(out)).toEqual(['worker-0']);
  });

  it('finishes when the last process has ended, and starts none after that', () => {
    const nanny = new Driver().running(2);
    expect(asked(nanny.run({ type: 'close', reason: 'done' }))).toHaveLength(2);
    nanny.exit('worker-0', { code: 0 });
    expect(nanny.exit('worker-1', { code: 0 }).at(-1)).toEqual({ op: 'finished', reason: 'done' });
    expect(nanny.run({ type: 'scale', workers: 5, close: [] })).toEqual([]);
    expect(nanny.run({ type: 'close', reason: 'again' })).toEqual([]);
  });

  it('finishes at once when there is nothing to end', () => {
    expect(new Driver().run({ type: 'close', reason: 'done' })).toEqual([
      { op: 'finished', reason: 'done' }
    ]);
  });
});

describe('while the scheduler is away', () => {
  it('workers that end are not blamed, and start when it is back', () => {
    const nanny = new Driver({ restartBudget: 1 }).running(2);
    nanny.run({ type: 'scheduler-lost' });
    for (const name of ['worker-0', 'worker-1']) {
      const out = nanny.exit(name, { said: 'the scheduler is gone' });
      expect(spawned(out)).toEqual([]);
      expect(exitOf(out).reason).toBe('the scheduler is gone');
    }
    expect(nanny.state.nextWake).toBeNull();
    expect(spawned(nanny.run({ type: 'scheduler-back' }))).toEqual(['worker-0', 'worker-1']);
    // Nothing of it counts against their budget.
    nanny.run({ type: 'worker-ready', name: 'worker-0' });
    nanny.exit('worker-0', { code: 1 });
    expect(nanny.state.list()[0]?.status).toBe('waiting');
  });

  it('none is started, and the time to register stands still', () => {
    const nanny = new Driver({ startLimitMs: 1000 });
    nanny.run({ type: 'scale', workers: 1, close: [] });
    nanny.run({ type: 'scheduler-lost' });
    expect(spawned(nanny.run({ type: 'scale', workers: 2, close: [] }))).toEqual([]);
    expect(nanny.wake()).toEqual([]);
    expect(nanny.state.list().map(slot => slot.status)).toEqual(['starting', 'waiting']);
    expect(spawned(nanny.run({ type: 'scheduler-back' }))).toEqual(['worker-1']);
    nanny.now += 999;
    expect(nanny.run({ type: 'tick' })).toEqual([]);
  });

  it('it can be closed', () => {
    const nanny = new Driver().running(2);
    nanny.run({ type: 'scheduler-lost' });
    nanny.exit('worker-0', { said: 'the scheduler is gone' });
    expect(asked(nanny.run({ type: 'close', reason: 'over' }))).toEqual(['worker-1']);
    expect(nanny.exit('worker-1').at(-1)).toEqual({ op: 'finished', reason: 'over' });
  });
});

describe('any order of events', () => {
  const name = fc.integer({ min: 0, max: 5 }).map(number => `worker-${number}`);
  const event: fc.Arbitrary<NannyEvent> = fc.oneof(
    fc.record({
      type: fc.constant('scale' as const),
      workers: fc.integer({ min: 0, max: 4 }),
      close: fc.array(name, { maxLength: 2 })
    }),
    fc.record({ type: fc.constant('worker-ready' as const), name }),
    fc.record({
      type: fc.constant('worker-memory' as const),
      name,
      rss: fc.integer({ min: 0, max: 3 * GIB })
    }),
    fc.record({
      type: fc.constant('worker-exited' as const),
      name,
      end: fc.constantFrom(end({ code: 1 }), end({ signal: 'SIGKILL' }), end({ code: 0 }))
    }),
    fc.constant({ type: 'restart-workers' as const, names: null }),
    fc.constant({ type: 'scheduler-lost' as const }),
    fc.constant({ type: 'scheduler-back' as const }),
    fc.constant({ type: 'tick' as const })
  );

  it('keeps the invariants, one process a worker, and can always be closed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(event, fc.integer({ min: 0, max: 5000 })), { maxLength: 60 }),
        steps => {
          const nanny = new Driver({ memoryLimit: 2 * GIB });
          const alive = new Set<string>();
          let over = false;
          const follow = (instructions: NannyInstruction[]): void => {
            for (const each of instructions) {
              if (each.op === 'finished') over = true;
              if (each.op !== 'spawn') continue;
              expect(alive.has(each.name)).toBe(false);
              alive.add(each.name);
            }
          };
          const step = (next: NannyEvent): void => {
            // The shell reports only of processes that it has.
            if ('name' in next && !alive.has(next.name)) return;
            if (next.type === 'worker-exited') alive.delete(next.name);
            follow(nanny.run(next));
          };
          for (const [next, wait] of steps) {
            nanny.now += wait;
            step(next);
          }
          step({ type: 'close', reason: 'done' });
          for (const left of [...alive]) step({ type: 'worker-exited', name: left, end: end() });
          expect(over).toBe(true);
          expect(alive.size).toBe(0);
        }
      )
    );
  });
});
