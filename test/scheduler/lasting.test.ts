/** Wishes that outlive their client, and keys that several clients want. */
import { describe, expect, it } from 'vitest';
import { isEmpty } from '../../src/scheduler/state/validate.ts';
import { Harness } from './harness.ts';

const VALUE = new Uint8Array([1, 2, 3]);

function setup(...clients: string[]): Harness {
  const h = new Harness();
  h.worker(1);
  for (const client of clients) h.client(client);
  return h;
}
function forget(h: Harness, client: string, ...keys: string[]): void {
  h.say(client, { op: 'fire-and-forget', cids: keys.map(key => h.cid(client, key)) });
}
function publish(h: Harness, client: string, name: string, ...keys: string[]): void {
  const cids = keys.map(key => h.cid(client, key));
  h.say(client, { op: 'publish-dataset', name, cids, value: VALUE });
}
const leave = (h: Harness, client: string) => h.handle({ type: 'remove-client', client });

describe('fire and forget', () => {
  it('runs the task and its inputs to the end after the client has gone', () => {
    const h = setup('c');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    forget(h, 'c', 'b-1');
    leave(h, 'c');
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'waiting']);
    h.finish('a-1');
    h.finish('b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['forgotten', 'forgotten']);
    expect(isEmpty(h.state)).toBe(true);
  });

  it('ends with an error, too, and leaves what the client still wants alone', () => {
    const h = setup('c');
    h.submit('c', { 'a-1': [], 'b-1': [] });
    forget(h, 'c', 'a-1', 'b-1');
    forget(h, 'c', 'a-1');
    h.fail('a-1');
    h.finish('b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['erred', 'memory']);
    h.release('c', 'a-1', 'b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['forgotten', 'forgotten']);
    expect(h.state.pseudoClients.size).toBe(0);
  });

  it('does nothing for what has ended already', () => {
    const h = setup('c');
    h.submit('c', { 'a-1': [] });
    h.finish('a-1');
    forget(h, 'c', 'a-1');
    h.release('c', 'a-1');
    expect(h.states('a-1')).toEqual(['forgotten']);
  });

  it('runs again when its worker dies', () => {
    const h = setup('c');
    h.submit('c', { 'a-1': [] });
    forget(h, 'c', 'a-1');
    leave(h, 'c');
    h.worker(1);
    h.lose(1);
    expect(h.on('a-1')).toBe(2);
  });

  it('can be cancelled by name, only with force', () => {
    const h = setup('c', 'd');
    h.submit('c', { 'a-1': [] });
    forget(h, 'c', 'a-1');
    leave(h, 'c');
    const cancel = { op: 'cancel-keys' as const, cids: [], keys: ['a-1'], reason: 'enough' };
    h.say('d', { ...cancel, force: false });
    expect(h.states('a-1')).toEqual(['processing']);
    h.say('d', { ...cancel, force: true });
    expect(h.states('a-1')).toEqual(['forgotten']);
    expect(h.toWorker(1, 'cancel-compute').map(m => m.force)).toEqual([true]);
    h.say('d', { ...cancel, force: true });
  });
});

describe('published datasets', () => {
  it('keep their keys for other clients', () => {
    const h = setup('c', 'd');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    publish(h, 'c', 'x', 'b-1');
    leave(h, 'c');
    h.finish('a-1');
    h.finish('b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['released', 'memory']);
    const dataset = h.state.datasets.get('x');
    expect([dataset?.keys, dataset?.value]).toEqual([['b-1'], VALUE]);
    const cid = h.desire('d', 'b-1');
    expect(h.toClient('d', 'key-in-memory').flatMap(m => m.cids)).toEqual([cid]);
    h.say('d', { op: 'unpublish-dataset', name: 'x' });
    expect(h.states('b-1')).toEqual(['memory']);
    h.release('d', 'b-1');
    leave(h, 'd');
    expect(isEmpty(h.state)).toBe(true);
  });

  it('are computed again when they are lost', () => {
    const h = setup('c');
    h.worker(1);
    h.submit('c', { 'a-1': [] });
    publish(h, 'c', 'x', 'a-1');
    leave(h, 'c');
    const holder = h.on('a-1') as number;
    h.finish('a-1');
    h.lose(holder);
    expect(h.states('a-1')).toEqual(['processing']);
  });

  it('are replaced without letting go of what both have', () => {
    const h = setup('c');
    h.submit('c', { 'a-1': [], 'b-1': [] });
    publish(h, 'c', 'x', 'a-1', 'b-1');
    h.finish('a-1');
    publish(h, 'c', 'x', 'a-1');
    leave(h, 'c');
    expect(h.states('a-1', 'b-1')).toEqual(['memory', 'forgotten']);
    expect(h.state.datasets.get('x')?.keys).toEqual(['a-1']);
  });

  it('are not published with keys that the client has released', () => {
    const h = setup('c');
    h.submit('c', { 'a-1': [], 'b-1': [] });
    h.release('c', 'b-1');
    publish(h, 'c', 'x', 'a-1', 'b-1');
    expect(h.state.datasets.size).toBe(0);
  });
});

describe('a key that two clients want', () => {
  it('runs once, and is kept until both have let go', () => {
    const h = setup('c', 'd');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.submit('d', { 'a-1': [], 'e-1': ['a-1'] });
    h.finish('a-1');
    expect(h.toWorker(1, 'compute-tasks').flatMap(m => m.keys)).toEqual(['a-1', 'b-1', 'e-1']);
    leave(h, 'c');
    expect(h.states('a-1', 'b-1', 'e-1')).toEqual(['memory', 'forgotten', 'processing']);
    h.release('d', 'a-1', 'e-1');
    expect(h.states('a-1', 'e-1')).toEqual(['forgotten', 'forgotten']);
  });

  it('is cancelled for one and goes on for the other', () => {
    const h = setup('c', 'd');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.desire('d', 'a-1');
    h.cancel('c', 'a-1');
    expect(h.toClient('c', 'cancelled-keys').flatMap(m => m.cids)).toEqual([
      h.cid('c', 'a-1'),
      h.cid('c', 'b-1')
    ]);
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'forgotten']);
    h.finish('a-1');
    expect(h.toClient('d', 'key-in-memory')).toHaveLength(1);
    expect(h.toClient('c', 'key-in-memory')).toEqual([]);
  });

  it('is cancelled for all with force, each told why', () => {
    const h = setup('c', 'd');
    h.submit('c', { 'a-1': [] });
    h.desire('d', 'a-1');
    h.cancel('d', 'a-1', true);
    expect(h.states('a-1')).toEqual(['forgotten']);
    expect(h.toClient('c', 'cancelled-keys').map(m => m.reason)).toEqual(['test']);
    expect(h.toClient('d', 'cancelled-keys').map(m => m.reason)).toEqual(['test']);
  });

  it('fails for both, and is tried again for both', () => {
    const h = setup('c', 'd');
    h.submit('c', { 'a-1': [] });
    h.desire('d', 'a-1');
    h.fail('a-1');
    expect(h.toClient('c', 'task-erred')).toHaveLength(1);
    expect(h.toClient('d', 'task-erred')).toHaveLength(1);
    h.retry('d', 'a-1');
    h.finish('a-1');
    expect(h.toClient('c', 'key-in-memory')).toHaveLength(1);
    expect(h.toClient('d', 'key-in-memory')).toHaveLength(1);
  });

  it('is kept for a client that comes to want it as another leaves', () => {
    const h = setup('c', 'd');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.finish('a-1');
    h.release('c', 'a-1');
    h.desire('d', 'a-1');
    leave(h, 'c');
    expect(h.states('a-1', 'b-1')).toEqual(['memory', 'forgotten']);
    h.desire('d', 'b-1');
    expect(h.toClient('d', 'cancelled-keys').map(m => m.reason)).toEqual([
      'no task or data named b-1 is known to this cluster'
    ]);
  });
});
