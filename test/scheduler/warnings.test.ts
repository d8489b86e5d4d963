/** What users are told although nothing has failed, and that colliding keys never leave anybody waiting. */
import { describe, expect, it } from 'vitest';
import { Harness } from './harness.ts';

function setup(workers = 1): Harness {
  const h = new Harness();
  for (let i = 0; i < workers; i++) h.worker(1);
  h.client('c');
  return h;
}

describe('restrictions that no worker meets', () => {
  it('are told of at once, once a submission', () => {
    const h = setup();
    h.submit('c', { 'a-1': [], 'a-2': [], 'a-3': [] }, { resources: { GPU: 1 } });
    const said = h.toClient('c', 'task-warning');
    expect(said).toHaveLength(1);
    expect(said[0]).toMatchObject({ code: 'NO_VALID_WORKER', cids: [h.cid('c', 'a-1')], count: 1 });
    expect(said[0]?.text).toContain('ask for resources {"GPU":1} cannot run');
    h.now += 10_000;
    h.handle({ type: 'tick' });
    expect(h.toClient('c', 'task-warning')).toEqual([]);
  });

  it('are told to who waits for what stands on the task', () => {
    const h = setup();
    h.client('d');
    h.submit('c', { 'a-1': [] }, { workers: ['w9'] });
    h.submit('c', { 'b-1': ['a-1'] });
    expect(h.toClient('c', 'task-warning')).toHaveLength(1);
    expect(h.toClient('d', 'task-warning')).toEqual([]);
  });

  it('are not when a worker that is paused meets them', () => {
    const h = setup(2);
    h.status(2, 'paused');
    h.submit('c', { 'a-1': [] }, { workers: ['w2'] });
    expect(h.states('a-1')).toEqual(['no-worker']);
    expect(h.toClient('c', 'task-warning')).toEqual([]);
  });

  it('wait for workers that are only just coming', () => {
    const h = setup(0);
    h.submit('c', { 'a-1': [], 'b-1': [] }, { resources: { GPU: 1 } });
    h.submit('c', { 'c-1': [] }, { workers: ['nowhere'] });
    expect(h.toClient('c', 'task-warning')).toEqual([]);
    h.worker(1);
    h.now += 500;
    h.handle({ type: 'tick' });
    expect(h.toClient('c', 'task-warning')).toEqual([]);
    h.worker(1, { resources: { GPU: 1 } });
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'processing']);
    h.now += 1000;
    h.handle({ type: 'tick' });
    expect(h.toClient('c', 'task-warning').map(one => one.text)).toEqual([
      expect.stringContaining('ask for workers nowhere cannot run')
    ]);
  });

  it('and are met by a worker that comes later', () => {
    const h = setup();
    h.submit('c', { 'a-1': [] }, { resources: { GPU: 1 } });
    h.worker(1, { resources: { GPU: 1 } });
    expect(h.on('a-1')).toBe(2);
  });
});

describe('a key that is submitted again', () => {
  it.each([
    ['another function', { fn: 'g' }, []],
    ['other dependencies', {}, ['x-1']],
    ['other arguments', { argBytes: 2 }, []]
  ])('with %s: the client is warned, the first stays', (what, options, deps) => {
    const h = setup();
    h.client('d');
    h.submit('c', { 'a-1': [] });
    h.submit('d', { 'x-1': [] });
    const { runId } = h.task('a-1');
    h.submit('d', { 'a-1': deps }, options);
    const said = h.toClient('d', 'task-warning');
    expect(said).toHaveLength(1);
    expect(said[0]).toMatchObject({ code: 'KEY_COLLISION', cids: [h.cid('d', 'a-1')] });
    expect(said[0]?.text).toContain(`again with ${what}`);
    expect(h.task('a-1').runId).toBe(runId);
    expect(h.task('a-1').deps).toEqual([]);
    h.finish('a-1');
    expect(h.toClient('d', 'key-in-memory').flatMap(m => m.cids)).toEqual([h.cid('d', 'a-1')]);
  });

  it('and is the same is no reason for a warning', () => {
    const h = setup();
    h.client('d');
    for (const client of ['c', 'd']) h.submit(client, { 'a-1': [], 'b-1': ['a-1'] });
    expect(h.toClient('d', 'task-warning')).toEqual([]);
  });

  it('is told of once for all keys of a submission', () => {
    const h = setup();
    const graph = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`a-${i}`, []]));
    h.submit('c', graph);
    h.submit('c', graph, { fn: 'g' });
    const said = h.toClient('c', 'task-warning');
    expect(said.map(one => [one.cids.length, one.count])).toEqual([[10, 30]]);
  });

  it.each(['waiting', 'processing', 'memory', 'erred', 'released'])(
    'while the first is %s: all futures end',
    stage => {
      const h = setup();
      h.client('d');
      h.submit('c', { 'in-1': [], 'a-1': ['in-1'], 'b-1': ['a-1'] });
      if (stage !== 'waiting') h.finish('in-1');
      if (stage === 'memory' || stage === 'released') h.finish('a-1');
      if (stage === 'released') {
        h.release('c', 'a-1', 'in-1');
        h.finish('b-1');
      }
      if (stage === 'erred') h.fail('a-1');
      expect(h.states('a-1')).toEqual([stage]);
      // The second a-1 stands on something of its own, and something stands on it.
      h.submit('d', { 'own-1': [], 'a-1': ['own-1'], 'z-1': ['a-1', 'own-1'] }, { fn: 'g' });
      expect(h.toClient('d', 'task-warning')).toHaveLength(1);
      for (let round = 0; round < 10; round++) {
        for (const task of [...h.state.tasks.values()]) {
          if (task.state === 'processing') h.finish(task.key);
        }
      }
      const end = stage === 'erred' ? 'erred' : 'memory';
      expect(h.states('a-1', 'z-1', 'own-1')).toEqual([end, end, 'memory']);
      h.release('d', 'own-1', 'a-1', 'z-1');
      h.handle({ type: 'remove-client', client: 'c' });
      expect(h.state.tasks.size).toBe(0);
    }
  );

  it('in a way that would make a circle: there is none', () => {
    const h = setup();
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.submit('c', { 'b-1': [] }, { fn: 'g' });
    h.submit('c', { 'a-1': ['b-1'] }, { fn: 'g' });
    h.finish('a-1');
    h.finish('b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['memory', 'memory']);
  });
});
