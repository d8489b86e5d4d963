/** Names and counts of the tasks of graphs whose keys say what they do. */
import { expect, it } from 'vitest';
import { graphProgress } from '../../src/scheduler/state/progress.ts';
import { Harness } from './harness.ts';

/** Two sums over two parts; the client wants the last. */
function summing(): Harness {
  const h = new Harness();
  h.client('c');
  h.worker(1);
  const graph = {
    'load-1ag1-0, 0': [],
    'load-1ag1-0, 1': [],
    'sum-part-1ag1-0, 0': ['load-1ag1-0, 0'],
    'sum-part-1ag1-0, 1': ['load-1ag1-0, 1'],
    'total-1ag1': ['sum-part-1ag1-0, 0', 'sum-part-1ag1-0, 1']
  };
  h.submit('c', graph, { fn: '', wants: ['total-1ag1'] });
  return h;
}

const told = (h: Harness, first = 1, count = 5): Record<string, string> => {
  const client = h.state.clients.get('c');
  if (client === undefined) throw new Error('no client');
  const { names, waiting, processing, memory, erred } = graphProgress(client, first, count);
  return Object.fromEntries(
    names.map((name, i) => [name, [waiting, processing, memory, erred].map(one => one[i]).join()])
  );
};

it('tasks of a function without a name are called by their keys, and grouped by them', () => {
  const h = summing();
  expect([...h.state.prefixes.keys()].sort()).toEqual(['load', 'sum-part', 'total']);
  expect(h.task('load-1ag1-0, 0').group).toBe(h.task('load-1ag1-0, 1').group);
  expect(h.task('load-1ag1-0, 0').group.size).toBe(2);
});

it('counts what the client holds no future of', () => {
  const h = summing();
  expect(told(h)).toEqual({ load: '0,2,0,0', 'sum-part': '2,0,0,0', total: '1,0,0,0' });
  h.finish('load-1ag1-0, 0', 10);
  expect(told(h)).toEqual({ load: '0,1,1,0', 'sum-part': '1,1,0,0', total: '1,0,0,0' });
  h.finish('sum-part-1ag1-0, 0', 10);
  // The first load has been let go of.
  expect(told(h)['sum-part']).toBe('1,0,1,0');
});

it('counts failures, and takes no longer than the client has numbers', () => {
  const h = summing();
  h.fail('load-1ag1-0, 0', 'Error: no luck');
  expect(told(h)['load']).toMatch(/,1$/);
  expect(told(h)['total']).toBe('0,0,0,1');
  expect(told(h, 0, Number.MAX_SAFE_INTEGER)).toEqual(told(h));
  expect(told(h, 100, 5)).toEqual({});
});
