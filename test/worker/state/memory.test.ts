/** The memory state: thresholds, order of eviction, pins, full disks. No file, no process. */
import { describe, expect, test } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { MemoryState } from '../../../src/worker/state/memory.ts';
import type {
  MemoryEvent,
  MemoryInstruction,
  MemorySettings
} from '../../../src/worker/state/memory-events.ts';

const MIB = 2 ** 20;

/** A state that is checked after every event. */
class Checked {
  readonly state: MemoryState;
  now = 0;

  constructor(settings: Partial<MemorySettings> = {}) {
    this.state = new MemoryState({ memoryLimit: 100 * MIB, ...settings });
  }

  tell(event: MemoryEvent): readonly MemoryInstruction[] {
    const instructions = this.state.handle(event, this.now);
    this.state.validate();
    return instructions;
  }

  put(tid: number, mib: number): readonly MemoryInstruction[] {
    return this.tell({ op: 'put', tid, nbytes: mib * MIB });
  }

  /** Values 1, 2, … of so many MiB each. */
  fill(count: number, mib: number): void {
    for (let tid = 1; tid <= count; tid++) this.put(tid, mib);
  }

  measure(mib: number): readonly MemoryInstruction[] {
    this.now += 100;
    return this.tell({ op: 'measured', rss: mib * MIB });
  }
}

function only<Op extends MemoryInstruction['op']>(
  all: readonly MemoryInstruction[],
  op: Op
): Extract<MemoryInstruction, { op: Op }>[] {
  return all.filter(one => one.op === op) as Extract<MemoryInstruction, { op: Op }>[];
}

const ops = (all: readonly MemoryInstruction[]): string[] => all.map(one => one.op);

describe('target', () => {
  test('at 60 % of the limit the least recently used values go, no more than needed', () => {
    const memory = new Checked();
    memory.fill(6, 10);
    memory.tell({ op: 'pin', tids: [1] });
    memory.tell({ op: 'unpin', tids: [1] });
    expect(memory.put(7, 15)).toEqual([
      { op: 'spill', tid: 2, file: 1 },
      { op: 'spill', tid: 3, file: 2 }
    ]);
    expect(memory.tell({ op: 'spill-done', file: 1, nbytes: 4 * MIB })).toEqual([
      { op: 'evict', tid: 2 }
    ]);
    expect(memory.state.spilledBytes).toBe(10 * MIB);
    expect(memory.state.memoryBytes).toBe(65 * MIB);
    expect(memory.state.fileBytes).toBe(4 * MIB);
  });

  test('a value that is larger than the target goes at once, and alone', () => {
    const memory = new Checked();
    memory.fill(3, 10);
    expect(memory.put(9, 61)).toEqual([{ op: 'spill', tid: 9, file: 1 }]);
  });

  test('small values stay; without a limit, or with everything off, so do all', () => {
    const memory = new Checked({ memoryLimit: 1000 });
    for (let tid = 0; tid < 100; tid++) {
      expect(memory.tell({ op: 'put', tid, nbytes: 100 })).toEqual([]);
    }
    const unlimited = new Checked({ memoryLimit: 0 });
    unlimited.fill(20, 10);
    expect(unlimited.measure(1e6)).toEqual([]);
    const off = new Checked({ target: 0, spill: 0, pause: 0 });
    expect(off.put(1, 99)).toEqual([]);
    expect(off.measure(200)).toEqual([]);
  });
});

describe('pins', () => {
  test('a pinned value is not evicted, and one on disk is read back', () => {
    const memory = new Checked();
    memory.fill(6, 10);
    memory.tell({ op: 'pin', tids: [1, 2] });
    expect(memory.put(7, 10)).toEqual([{ op: 'spill', tid: 3, file: 1 }]);
    memory.tell({ op: 'spill-done', file: 1, nbytes: 10 * MIB });
    expect(memory.state.placeOf(3)).toBe('disk');
    // What comes back drives out what was used longest ago.
    expect(memory.tell({ op: 'pin', tids: [3] })).toEqual([
      { op: 'read', tid: 3, file: 1 },
      { op: 'spill', tid: 4, file: 2 }
    ]);
    expect(memory.state.placeOf(3)).toBe('moving');
    expect(memory.tell({ op: 'pin', tids: [3] })).toEqual([]);
    expect(memory.tell({ op: 'read-done', file: 1 })).toEqual([{ op: 'keep', tid: 3, file: 1 }]);
    expect(memory.state.placeOf(3)).toBe('memory');
  });

  test('pinned while it is written it stays; its file lets it leave later for nothing', () => {
    const memory = new Checked();
    memory.fill(6, 10);
    memory.put(7, 10);
    memory.tell({ op: 'pin', tids: [1] });
    // Value 1 does not leave: another must.
    expect(memory.tell({ op: 'spill-done', file: 1, nbytes: 10 * MIB })).toEqual([]);
    expect(memory.state.placeOf(1)).toBe('memory');
    memory.tell({ op: 'unpin', tids: [1] });
    for (const tid of [3, 4, 5, 6, 7]) memory.tell({ op: 'pin', tids: [tid] });
    expect(memory.put(8, 5)).toEqual([{ op: 'evict', tid: 1 }]);
  });

  test('what is dropped while it is written or read leaves no file behind', () => {
    const memory = new Checked();
    memory.fill(7, 10);
    memory.tell({ op: 'drop', tids: [1] });
    expect(memory.tell({ op: 'spill-done', file: 1, nbytes: MIB })).toEqual([
      { op: 'delete', file: 1 }
    ]);
    const [written] = only(memory.put(8, 10), 'spill');
    memory.tell({ op: 'spill-done', file: written?.file ?? 0, nbytes: MIB });
    memory.tell({ op: 'pin', tids: [2] });
    memory.tell({ op: 'drop', tids: [2] });
    // The same number again, while the old value is still being read.
    memory.put(2, 1);
    const after = memory.tell({ op: 'read-done', file: written?.file ?? 0 });
    expect(after).toEqual([{ op: 'delete', file: written?.file }]);
    memory.tell({ op: 'drop', tids: [2, 3, 4, 5, 6, 7, 8] });
    expect(memory.state.memoryBytes + memory.state.spilledBytes).toBe(0);
  });

  test('a file that cannot be read is a lost value', () => {
    const memory = new Checked();
    memory.fill(7, 10);
    memory.tell({ op: 'spill-done', file: 1, nbytes: MIB });
    memory.tell({ op: 'pin', tids: [1] });
    const after = memory.tell({ op: 'read-failed', file: 1, text: 'bad checksum' });
    expect(ops(after)).toEqual(['delete', 'lost', 'log']);
    expect(memory.state.placeOf(1)).toBe('none');
    expect(memory.tell({ op: 'unpin', tids: [1] })).toEqual([]);
  });
});

describe('spill by what the process uses', () => {
  test('beyond 70 % garbage is collected, then values go until it is below 60 %', () => {
    const memory = new Checked();
    memory.fill(5, 10);
    expect(memory.measure(69)).toEqual([]);
    expect(memory.measure(75)).toEqual([{ op: 'collect-garbage' }]);
    expect(only(memory.measure(75), 'spill').map(one => one.tid)).toEqual([1, 2]);
    // What is on its way out counts.
    expect(memory.measure(75)).toEqual([]);
    memory.tell({ op: 'spill-done', file: 1, nbytes: MIB });
    memory.tell({ op: 'spill-done', file: 2, nbytes: MIB });
    expect(only(memory.measure(65), 'spill').map(one => one.tid)).toEqual([3]);
    memory.tell({ op: 'spill-done', file: 3, nbytes: MIB });
    expect(memory.measure(59)).toEqual([]);
    expect(memory.measure(65)).toEqual([]);
  });

  test('between readings, what comes counts: others make room for it', () => {
    const memory = new Checked();
    memory.fill(4, 10);
    expect(memory.measure(65)).toEqual([]);
    expect(memory.put(5, 4)).toEqual([]);
    expect(memory.put(6, 4)).toEqual([{ op: 'spill', tid: 1, file: 1 }]);
    expect(memory.put(7, 4)).toEqual([]);
  });

  test('garbage alone drives no value out', () => {
    const memory = new Checked();
    memory.fill(5, 10);
    expect(memory.measure(75)).toEqual([{ op: 'collect-garbage' }]);
    expect(memory.measure(55)).toEqual([]);
  });
});

describe('pause', () => {
  test('beyond 80 % it pauses and says why, below it goes on', () => {
    const memory = new Checked({ target: 0, spill: 0 });
    const [pause] = only(memory.measure(85), 'pause');
    expect(pause?.reason).toBe(
      'it uses 85 MiB, 85 % of its memory limit of 100 MiB, and pauses at 80 %; spilling is off'
    );
    expect(memory.state.paused).toBe(true);
    expect(only(memory.measure(90), 'pause')).toEqual([]);
    expect(ops(memory.measure(79))).toEqual(['unpause', 'log']);
    expect(memory.state.paused).toBe(false);
  });

  test('collections are asked for once a second, oftener while values come and go', () => {
    const memory = new Checked();
    const collections = (act: () => void): number => {
      let count = 0;
      for (let i = 0; i < 20; i++) {
        act();
        count += only(memory.measure(90), 'collect-garbage').length;
      }
      return count;
    };
    expect(collections(() => undefined)).toBe(2);
    expect(collections(() => memory.put(1, 1))).toBe(20);
  });

  test('a worker that pauses again and again says so every 10 s', () => {
    const memory = new Checked();
    let lines = 0;
    for (let i = 0; i < 200; i++) {
      lines += only(memory.measure(i % 2 === 0 ? 90 : 50), 'log').length;
    }
    expect(lines).toBe(4);
  });
});

describe('a disk that is short', () => {
  test('full: values stay, it is said once, and tried again after 10 s', () => {
    const memory = new Checked();
    memory.fill(7, 10);
    const text = 'ENOSPC, no space left on /tmp';
    const after = memory.tell({ op: 'spill-failed', file: 1, full: true, text });
    expect(ops(after)).toEqual(['log']);
    expect(memory.state.trouble).toBe(text);
    expect(memory.put(8, 10)).toEqual([]);
    memory.now += 10_001;
    const again = only(memory.put(9, 10), 'spill');
    expect(again.length).toBe(3);
    const done = memory.tell({ op: 'spill-done', file: again[0]?.file ?? 0, nbytes: MIB });
    expect(ops(done)).toEqual(['log', 'evict']);
    expect(memory.state.trouble).toBe('');
  });

  test('maxSpill: files of values that are in memory too go first, then nothing is written', () => {
    const memory = new Checked({ maxSpill: 20 * MIB });
    memory.fill(8, 10);
    memory.tell({ op: 'spill-done', file: 1, nbytes: 10 * MIB });
    memory.tell({ op: 'spill-done', file: 2, nbytes: 10 * MIB });
    const full = memory.put(9, 10);
    expect(ops(full)).toEqual(['log']);
    expect(memory.state.trouble).toContain('20 MiB');
    // Value 1 is read back and let go of: its file is worth less than room for another.
    memory.tell({ op: 'pin', tids: [1] });
    memory.tell({ op: 'read-done', file: 1 });
    memory.tell({ op: 'unpin', tids: [1] });
    memory.now += 20_000;
    memory.tell({ op: 'drop', tids: [2] });
    expect(memory.state.fileBytes).toBeLessThanOrEqual(10 * MIB);
    memory.state.validate();
  });
});

/** A disk that answers in any order, fails and fills; the books must balance after every event. */
describe('any history', () => {
  test.each([0, 1, 2, 3, 4, 5, 6, 7])('from seed %i on', first => {
    for (let seed = first; seed < 200; seed += 8) play(seed);
  });

  function play(seed: number): void {
    const rng = new Rng(seed + 1);
    const maxSpill = seed % 3 === 0 ? 60 * MIB : 0;
    const memory = new Checked({ maxSpill });
    const jobs: { op: 'spill' | 'read'; tid: number; file: number }[] = [];
    const files = new Set<number>();
    const values = new Set<number>();
    const pinned: number[] = [];
    const tell = (event: MemoryEvent): void => {
      memory.now += rng.integer(0, 299);
      for (const one of memory.tell(event)) {
        if (one.op === 'spill' || one.op === 'read') jobs.push(one);
        if (one.op === 'delete') expect(files.delete(one.file)).toBe(true);
        if (one.op === 'lost') values.delete(one.tid);
      }
    };
    const answer = (): void => {
      const [job] = jobs.splice(rng.integer(0, jobs.length - 1), 1);
      if (job === undefined) return;
      const { file } = job;
      const fails = rng.integer(0, 9) === 0;
      if (job.op === 'read') {
        tell(fails ? { op: 'read-failed', file, text: 'bad' } : { op: 'read-done', file });
      } else if (fails)
        tell({ op: 'spill-failed', file, full: rng.integer(0, 1) === 0, text: 'full' });
      else {
        files.add(file);
        tell({ op: 'spill-done', file, nbytes: (1 + rng.integer(0, 9)) * 0.5 * MIB });
      }
    };
    for (let step = 0; step < 400; step++) {
      const tid = rng.integer(0, 39);
      const act = rng.integer(0, 7);
      if (act < 2) {
        values.add(tid);
        tell({ op: 'put', tid, nbytes: rng.integer(0, 19) * MIB });
      } else if (act === 2) {
        values.delete(tid);
        tell({ op: 'drop', tids: [tid] });
      } else if (act === 3) {
        pinned.push(tid);
        tell({ op: 'pin', tids: [tid] });
      } else if (act === 4) tell({ op: 'unpin', tids: pinned.splice(0, 1) });
      else if (act === 5) tell({ op: 'measured', rss: rng.integer(0, 109) * MIB });
      else if (jobs.length > 0) answer();
    }
    while (jobs.length > 0) answer();
    for (const tid of values) expect(memory.state.placeOf(tid)).not.toBe('none');
    tell({ op: 'drop', tids: Array.from({ length: 40 }, (_, tid) => tid) });
    while (jobs.length > 0) answer();
    const { memoryBytes, spilledBytes, fileBytes } = memory.state;
    expect({ memoryBytes, spilledBytes, fileBytes, files: files.size }).toEqual({
      memoryBytes: 0,
      spilledBytes: 0,
      fileBytes: 0,
      files: 0
    });
  }
});
