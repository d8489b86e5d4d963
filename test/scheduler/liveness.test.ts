/** Silent workers and idle schedulers, by the state alone. */
import { describe, expect, it } from 'vitest';
import { Liveness } from '../../src/scheduler/state/liveness.ts';
import type { LivenessOptions } from '../../src/scheduler/state/liveness.ts';
import { Harness } from './harness.ts';

class Watched extends Harness {
  readonly liveness: Liveness;

  constructor(options: Partial<LivenessOptions>) {
    super();
    this.liveness = new Liveness({ workerTtl: 0, idleTimeout: 0, ...options }, this.now);
  }

  /** Looks every 250 ms; numbers of the workers that were silent, and when it was idle for too long. */
  pass(ms: number, hear: readonly number[] = []): { silent: number[]; idleAt: number | null } {
    const silent: number[] = [];
    let idleAt: number | null = null;
    for (const end = this.now + ms; this.now < end;) {
      this.now += 250;
      for (const worker of hear) this.heartbeat(worker);
      const look = this.liveness.look(this.state, this.now);
      silent.push(...look.silent.map(worker => worker.id));
      if (look.closeIdle) idleAt ??= this.now;
    }
    return { silent, idleAt };
  }

  heartbeat(worker: number): void {
    const metrics = { cpu: 0, rss: 0, managed: 0, spilled: 0, executing: 0, ready: 0, inMemory: 0 };
    this.handle({
      type: 'worker-message',
      worker,
      message: {
        op: 'heartbeat-worker',
        now: this.now,
        metrics: { ...metrics, netIn: 0, netOut: 0, loopDelay: 0, bandwidth: 0 },
        executing: [],
        executingFor: []
      }
    });
  }
}

describe('a silent worker', () => {
  it('is named once, after its time', () => {
    const look = new Watched({ workerTtl: 60_000 });
    const [quiet, lively] = [look.worker(), look.worker()];
    expect(look.pass(59_000, [lively]).silent).toEqual([]);
    expect(look.pass(2000, [lively]).silent).toEqual([quiet]);
    expect(look.pass(600_000, [lively]).silent).toEqual([]);
  });

  it('has at least ten heartbeats, and for ever when the limit is off', () => {
    const look = new Watched({ workerTtl: 1 });
    look.worker();
    expect(look.pass(4750).silent).toEqual([]);
    expect(look.pass(500).silent).toEqual([1]);
    const off = new Watched({ workerTtl: 0 });
    off.worker();
    expect(off.pass(1_000_000).silent).toEqual([]);
  });

  it('is not one that a suspended scheduler has not listened to', () => {
    const look = new Watched({ workerTtl: 60_000 });
    const workers = [look.worker(), look.worker()];
    look.pass(1000, workers);
    look.now += 3_600_000;
    expect(look.pass(59_000, []).silent).toEqual([]);
    // What was silent after that is silent.
    expect(look.pass(2000, []).silent).toEqual(workers);
  });

  it('is found also when the clock was set back', () => {
    const look = new Watched({ workerTtl: 60_000 });
    look.now += 3_600_000;
    look.worker();
    look.now -= 3_600_000;
    expect(look.pass(59_000).silent).toEqual([]);
    expect(look.pass(2000).silent).toEqual([1]);
  });
});

describe('an idle scheduler', () => {
  it('closes after its time without anything to do', () => {
    const look = new Watched({ idleTimeout: 10_000 });
    look.worker();
    look.client('c');
    const from = look.now;
    expect(look.pass(20_000).idleAt).toBe(from + 250 + 10_000);
  });

  it('is not idle while something runs, waits for a worker, or has just changed', () => {
    const look = new Watched({ idleTimeout: 10_000 });
    look.worker();
    look.client('c');
    look.submit('c', { a: [], b: ['a'] });
    expect(look.pass(100_000).idleAt).toBeNull();
    look.finish('a');
    look.finish('b');
    expect(look.pass(9000).idleAt).toBeNull();
    look.submit('c', { nowhere: [] }, { workers: ['none of these'] });
    expect(look.pass(100_000).idleAt).toBeNull();
    look.release('c', 'nowhere');
    const from = look.now;
    expect(look.pass(20_000).idleAt).toBe(from + 500 + 10_000);
  });

  it('counts only time in which it was awake', () => {
    const look = new Watched({ idleTimeout: 10_000 });
    look.pass(9000);
    look.now += 3_600_000;
    expect(look.pass(9000).idleAt).toBeNull();
    expect(look.pass(2000).idleAt).not.toBeNull();
  });
});
