/** Stacks of running tasks, over real workers: what runs is seen, and goes on unharmed. */
import { describe, expect, it } from 'vitest';
import type { CallStack } from '../../src/client/diagnostics.ts';
import type { Future } from '../../src/client/future.ts';
import { withCluster } from '../client/cluster.ts';
import { until } from '../deploy/processes.ts';

const pair = withCluster({ workers: 1, threadsPerWorker: 3 });

/** The stack of one task, once it is as expected: before, the executor still loads its function. */
function stackOf(future: Future, expected: RegExp): Promise<CallStack> {
  return until('its stack', async () => {
    const stacks = await pair.client.callStacks([future], { timeout: 1 });
    const own = stacks.filter(stack => stack.key === future.key);
    return own.find(({ frames, note }) => expected.test(frames[0] ?? note));
  });
}

function spinUntil(ms: number): number {
  // A loop that never gives way; only the clock ends it.
  let turns = 0;
  const end = Date.now() + ms;
  while (Date.now() < end) turns += Math.sign(Math.sin(turns) + 2);
  return turns;
}

describe('call stacks', () => {
  it('of a busy loop, by function and line; the loop ends as if nothing had been', async () => {
    const future = pair.client.submit(spinUntil, 3000);
    const stack = await stackOf(future, /^spinUntil \(.+:\d+:\d+\)$/);
    expect(stack.note).toBe('');
    expect(stack.frames.join('\n')).not.toMatch(/executor\.mjs|node:internal/);
    expect(stack.name).toBe('worker-0');
    // Again and again, and it is none the worse for it.
    for (let i = 0; i < 10; i++) await pair.client.callStacks([future]);
    expect(await future.result()).toBeGreaterThan(1000);
    const story = await pair.client.story(future);
    expect(story.filter(line => line.where === 'scheduler')).toMatchObject([
      { finish: 'waiting' },
      { finish: 'processing' },
      { finish: 'memory' }
    ]);
  });

  it('tells a task that awaits from one inside native code', async () => {
    const awaits = pair.client.submit(
      () => new Promise<number>(resolve => setTimeout(() => resolve(1), 6000))
    );
    const native = pair.client.submit(() => {
      const { execFileSync } = process.getBuiltinModule('node:child_process');
      return execFileSync('sleep', ['6']).length;
    });
    const busy = pair.client.submit(spinUntil, 6000);
    await stackOf(native, /did not answer within 1 s: .* native code/);
    await stackOf(awaits, /runs no JavaScript at this moment: it awaits/);
    // One thread that does not answer keeps no other from being seen.
    await stackOf(busy, /spinUntil/);
    const all = await pair.client.callStacks(undefined, { timeout: 0.5 });
    expect(all.map(stack => stack.key).sort()).toEqual([awaits.key, native.key, busy.key].sort());
    expect(all.find(stack => stack.key === busy.key)?.frames[0]).toContain('spinUntil');
    expect(await native.result()).toBe(0);
    expect(await awaits.result()).toBe(1);
    expect(await busy.result()).toBeGreaterThan(1000);
  });

  it('of nothing, when nothing runs', async () => {
    expect(await pair.client.callStacks()).toEqual([]);
    expect(await pair.client.callStacks(['no such key'])).toEqual([]);
  });

  it('the control thread answers while it looks', async () => {
    const future = pair.client.submit(() => {
      const { execFileSync } = process.getBuiltinModule('node:child_process');
      execFileSync('sleep', ['3']);
    });
    await until('it runs', async () => (await pair.client.callStacks([future])).length > 0);
    const look = pair.client.callStacks([future], { timeout: 2 });
    expect(await pair.client.submit(() => 'answered').result()).toBe('answered');
    await look;
    await future.result();
  });
});
