/** How a machine is divided into workers. */
import { describe, expect, it } from 'vitest';
import { localShape } from '../../src/deploy/shape.ts';

const GIB = 2 ** 30;

describe('localShape', () => {
  it.each([
    [1, 1, 1],
    [2, 2, 1],
    [4, 4, 1],
    [7, 7, 1],
    [8, 4, 2],
    [12, 4, 3],
    [16, 4, 4],
    [64, 8, 8],
    [96, 12, 8]
  ])('makes of %i cores %i processes with %i threads', (cores, workers, threads) => {
    const shape = localShape({}, { cores, memory: 64 * GIB });
    expect(shape).toEqual({ workers, threads, memoryLimit: Math.floor((64 * GIB) / workers) });
  });

  it('spreads the cores over the workers that were asked for', () => {
    const machine = { cores: 8, memory: 16 * GIB };
    expect(localShape({ workers: 2 }, machine)).toMatchObject({ workers: 2, threads: 4 });
    expect(localShape({ workers: 20 }, machine)).toMatchObject({ workers: 20, threads: 1 });
    expect(localShape({ threadsPerWorker: 3 }, machine)).toMatchObject({ workers: 2, threads: 3 });
    expect(localShape({ workers: 0 }, machine)).toMatchObject({ workers: 0, threads: 8 });
  });

  it('takes a limit as bytes, as text, as none', () => {
    const machine = { cores: 2, memory: 16 * GIB };
    const limit = (memoryLimit: number | string): number =>
      localShape({ memoryLimit }, machine).memoryLimit;
    expect(limit('2 GiB')).toBe(2 * GIB);
    expect(limit(GIB)).toBe(GIB);
    expect(limit('auto')).toBe(8 * GIB);
    expect(limit(0)).toBe(0);
    expect(limit('0')).toBe(0);
    expect(() => limit('64 MiB')).toThrow(/at least 128 MiB/);
    expect(() => limit(Number.NaN)).toThrow(/at least 128 MiB/);
  });
});
