/**
 * A scheduler in place of another: the real ledger of a client, the books of the scheduler that
 * died as what its workers still hold, and the state that takes over. Every event is validated.
 */
import { describe, expect, it } from 'vitest';
import { Ledger } from '../../src/client/state/ledger.ts';
import type { ClientToScheduler, ErrorRecord } from '../../src/protocol/messages.ts';
import type { SchedulerEvent } from '../../src/scheduler/state/state.ts';
import { isEmpty } from '../../src/scheduler/state/validate.ts';
import { Harness } from './harness.ts';
import { NO_TASK_OPTIONS } from '../../src/protocol/task-options.ts';

/** A client's ledger beside the harness that hears the same. */
class Recorded extends Harness {
  readonly ledgers = new Map<string, Ledger>();
  heard = true;

  override handle(event: SchedulerEvent): ReturnType<Harness['handle']> {
    if (event.type === 'client-message') {
      let ledger = this.ledgers.get(event.client);
      if (ledger === undefined) this.ledgers.set(event.client, (ledger = new Ledger()));
      ledger.note(event.message, this.heard);
      if (!this.heard) return [];
    }
    return super.handle(event);
  }

  /** All that the client says again. */
  resume(client: string, errors: Record<string, ErrorRecord> = {}): ClientToScheduler[] {
    const byCid = new Map(Object.entries(errors).map(([key, e]) => [this.cid(client, key), e]));
    const ledger = this.ledgers.get(client) as Ledger;
    return ledger.resume(cid => ({ pending: !byCid.has(cid), error: byCid.get(cid) ?? null }));
  }
}

/** The worker's link breaks; it may be back within 5 s. */
function linkBreaks(h: Harness, worker: number): void {
  const reason = 'its link broke';
  h.handle({ type: 'remove-worker', worker, reason, expected: false, mayReturn: 5000 });
}

/** What a worker of `old` holds, brought along to `h`. */
function comeBack(h: Harness, old: Harness, worker: number, epoch = 'old'): number {
  const record = old.state.workers.get(worker);
  if (record === undefined) throw new Error(`no worker ${worker}`);
  const held = [...record.hasWhat];
  const id = h.state.nextWorker;
  h.handle({
    type: 'add-worker',
    worker: id,
    facts: record.facts,
    held: {
      epoch,
      tids: held.map(task => task.id),
      keys: held.map(task => task.key),
      nbytes: held.map(task => task.nbytes),
      types: held.map(task => task.type),
      running: [...record.processing].map(task => task.key)
    }
  });
  return id;
}

function say(h: Harness, client: string, messages: ClientToScheduler[]): void {
  h.handle({ type: 'add-client', client, name: client });
  for (const message of messages) h.handle({ type: 'client-message', client, message });
}

/** A chain of three and a task beside it, on two workers; a, b and x are done. */
function before(): Recorded {
  const old = new Recorded({ epoch: 'old' });
  old.worker();
  old.worker();
  old.client('c');
  old.submit('c', { 'a-1': [], 'b-1': ['a-1'], 'c-1': ['b-1'], 'x-1': [] });
  old.finish('a-1', 100);
  old.finish('b-1', 200);
  old.finish('x-1', 300);
  return old;
}

function successor(workers: number): Harness {
  const h = new Harness({ epoch: 'new' });
  h.handle({ type: 'recover', workers, within: 5000 });
  return h;
}

describe('a scheduler in place of another', () => {
  it.each(['workers first', 'the client first'])('goes on where the other was: %s', order => {
    const old = before();
    const h = successor(2);
    const said = old.resume('c');
    if (order === 'the client first') say(h, 'c', said);
    comeBack(h, old, 1);
    expect(h.state.runningWorkers.size).toBe(0);
    comeBack(h, old, 2);
    if (order === 'workers first') say(h, 'c', said);
    expect(h.states('a-1', 'b-1', 'c-1', 'x-1')).toEqual([
      'memory',
      'memory',
      'processing',
      'memory'
    ]);
    // It went on where it had begun.
    const runner = old.task('c-1').processingOn?.facts.address;
    expect(h.task('c-1').processingOn?.facts.address).toBe(runner);
    h.finish('c-1');
    expect(h.states('c-1')).toEqual(['memory']);
    expect(h.task('c-1').group.prefix.name).toBe('f');
    h.handle({
      type: 'client-message',
      client: 'c',
      message: { op: 'client-releases-keys', cids: [1, 2, 3, 4] }
    });
    h.handle({ type: 'remove-client', client: 'c' });
    h.now += 61_000;
    h.handle({ type: 'tick' });
    expect(isEmpty(h.state)).toBe(true);
  });

  it('does not compute an intermediate again that nobody holds and nobody needs', () => {
    const old = before();
    old.release('c', 'a-1', 'b-1');
    old.finish('c-1');
    expect(old.states('a-1', 'b-1', 'c-1')).toEqual(['released', 'released', 'memory']);
    const h = successor(2);
    comeBack(h, old, 1);
    comeBack(h, old, 2);
    say(h, 'c', old.resume('c'));
    expect(h.states('a-1', 'b-1', 'c-1')).toEqual(['released', 'released', 'memory']);
    // And can, when its holder is lost.
    h.lose(
      h.task('c-1').whoHas === null
        ? 0
        : [...h.state.workers.keys()].find(id =>
            h.state.workers.get(id)!.hasWhat.has(h.task('c-1'))
          )!
    );
    expect(h.states('a-1', 'c-1')).toEqual(['processing', 'waiting']);
  });

  it('computes what only a dead worker held, and tells the client', () => {
    const old = before();
    const h = successor(2);
    comeBack(h, old, 2);
    say(h, 'c', old.resume('c'));
    expect(h.state.totalThreads).toBe(0);
    h.now += 5001;
    h.handle({ type: 'tick' });
    expect(h.state.totalThreads).toBe(1);
    const held = [...old.state.workers.get(2)!.hasWhat].map(task => task.key);
    for (const key of held) expect(h.states(key)).toEqual(['memory']);
    const lost = ['a-1', 'b-1', 'c-1', 'x-1'].filter(key => !held.includes(key));
    const told = h.toClient('c', 'lost-keys').flatMap(message => message.cids);
    expect(told.sort()).toEqual(lost.map(key => old.cid('c', key)).sort());
    for (let i = 0; i < 4; i++) {
      const running = [...h.state.tasks.values()].find(task => task.state === 'processing');
      if (running !== undefined) h.finish(running.key);
    }
    expect(h.states('a-1', 'b-1', 'c-1', 'x-1')).toEqual(Array(4).fill('memory'));
  });

  it('gives nothing even to the holder of all inputs while it holds back', () => {
    const old = before();
    const h = successor(2);
    const holder = [1, 2].find(id => old.state.workers.get(id)?.hasWhat.has(old.task('b-1')));
    comeBack(h, old, holder as number);
    say(h, 'c', old.resume('c'));
    expect(h.states('b-1', 'c-1')).toEqual(['memory', 'no-worker']);
    comeBack(h, old, 3 - (holder as number));
    expect(h.states('c-1')).toEqual(['processing']);
  });

  it('takes a value that comes late in place of the run that it has begun', () => {
    const old = before();
    const h = successor(0);
    h.worker();
    say(h, 'c', old.resume('c'));
    expect(h.states('a-1', 'x-1').filter(state => state === 'processing')).toHaveLength(2);
    const runner = h.on('x-1') as number;
    comeBack(h, old, 1);
    comeBack(h, old, 2);
    expect(h.states('a-1', 'b-1', 'x-1', 'c-1')).toEqual([
      'memory',
      'memory',
      'memory',
      'processing'
    ]);
    expect(h.toWorker(runner, 'free-keys').flatMap(m => m.tids)).toContain(h.task('x-1').id);
  });

  it('keeps what nobody asks for during the grace, then lets it go', () => {
    const old = before();
    const h = successor(1);
    const worker = comeBack(h, old, 1);
    const held = [...old.state.workers.get(1)!.hasWhat].map(task => task.key);
    expect(h.states(...held)).toEqual(held.map(() => 'memory'));
    h.now += 59_000;
    h.handle({ type: 'tick' });
    expect(h.states(...held)).toEqual(held.map(() => 'memory'));
    h.now += 2000;
    h.handle({ type: 'tick' });
    expect(isEmpty(h.state)).toBe(true);
    expect(h.toWorker(worker, 'free-keys').flatMap(m => m.tids)).toHaveLength(held.length);
  });

  it('remembers failures instead of running them again', () => {
    const old = new Recorded({ epoch: 'old' });
    old.worker();
    old.client('c');
    old.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    old.fail('a-1', 'Error: first');
    const error = old.task('a-1').error as ErrorRecord;
    const h = successor(0);
    h.worker();
    say(h, 'c', old.resume('c', { 'a-1': error }));
    expect(h.states('a-1', 'b-1')).toEqual(['erred', 'erred']);
    expect(h.toClient('c', 'task-erred').flatMap(m => m.errors.map(e => e.message))).toContain(
      'Error: first'
    );
    h.handle({
      type: 'client-message',
      client: 'c',
      message: { op: 'retry-keys', cids: [old.cid('c', 'b-1')] }
    });
    expect(h.states('a-1', 'b-1')).toEqual(['processing', 'waiting']);
  });

  it('awaits scattered data of a worker whose link broke, and loses it only when it stays away', () => {
    for (const returns of [true, false]) {
      const h = new Harness({ epoch: 'same' });
      const id = h.worker();
      h.worker();
      h.client('c');
      h.scatter('c', 'data', id);
      h.submit('c', { 'y-1': ['data'] });
      const { facts } = h.state.workers.get(id)!;
      const { id: tid, nbytes, type } = h.task('data');
      linkBreaks(h, id);
      h.now += 4000;
      h.handle({ type: 'tick' });
      expect(h.states('data', 'y-1')).toEqual(['released', 'waiting']);
      if (returns) {
        const columns = { tids: [tid], keys: ['data'], nbytes: [nbytes], types: [type] };
        const held = { epoch: 'same', ...columns, running: [] };
        h.handle({ type: 'add-worker', worker: h.state.nextWorker, facts, held });
      }
      h.now += 4000;
      h.handle({ type: 'tick' });
      expect(h.states('data', 'y-1')).toEqual(
        returns ? ['memory', 'processing'] : ['erred', 'erred']
      );
      if (!returns) expect(h.task('data').error?.message).toMatch(/data was scattered/);
    }
  });

  it.each(['before', 'after', 'never'])(
    'awaits data told of while the link of its worker is broken; the worker is back %s that',
    back => {
      const h = new Harness({ epoch: 'same' });
      const id = h.worker();
      h.client('c');
      const [tid] = h.state.planScatter('c', 1, null).tids as [number];
      const { facts } = h.state.workers.get(id)!;
      linkBreaks(h, id);
      const columns = { tids: [tid], keys: ['data'], nbytes: [80], types: ['number'] };
      const comesBack = (): void => {
        const held = { epoch: 'same', ...columns, running: [] };
        h.handle({ type: 'add-worker', worker: h.state.nextWorker, facts, held });
      };
      if (back === 'before') comesBack();
      h.handle({
        type: 'client-message',
        client: 'c',
        message: { op: 'scattered', ...columns, cids: [900], workers: [[id]] }
      });
      expect(h.states('data')).toEqual([back === 'before' ? 'memory' : 'released']);
      if (back === 'after') comesBack();
      h.now += 5000;
      h.handle({ type: 'tick' });
      expect(h.states('data')).toEqual([back === 'never' ? 'erred' : 'memory']);
      if (back !== 'never') expect(h.toWorker(2, 'hello')[0]?.adopted).toEqual([tid]);
      expect(h.state.recovery.departed.size).toBe(0);
    }
  );

  it('reports scattered data lost that no worker brings, and all that stands on it', () => {
    const old = new Recorded({ epoch: 'old' });
    const worker = old.worker();
    old.client('c');
    const [tid] = old.state.planScatter('c', 1, null).tids;
    const cid = 900;
    old.handle({
      type: 'client-message',
      client: 'c',
      message: {
        op: 'scattered',
        cids: [cid],
        keys: ['data'],
        tids: [tid!],
        nbytes: [9],
        types: ['number'],
        workers: [[worker]]
      }
    });
    const graph = {
      op: 'update-graph' as const,
      first: 901,
      keys: ['y-1'],
      fn: 1,
      args: new Uint8Array(1),
      argOffsets: [0, 1],
      deps: [cid],
      depOffsets: [0, 1],
      options: NO_TASK_OPTIONS,
      fifoTimeout: 0,
      wants: 'all' as const
    };
    old.handle({
      type: 'client-message',
      client: 'c',
      message: { op: 'register-function', fn: 1, hash: 'f', name: 'f', blob: new Uint8Array(1) }
    });
    old.handle({ type: 'client-message', client: 'c', message: graph });
    const said = old.resume('c');
    const found = successor(1);
    say(found, 'c', said);
    expect(found.states('data', 'y-1')).toEqual(['released', 'waiting']);
    comeBack(found, old, 1);
    expect(found.states('data', 'y-1')).toEqual(['memory', 'processing']);

    const lost = successor(1);
    say(lost, 'c', old.resume('c'));
    lost.worker();
    expect(lost.states('data', 'y-1')).toEqual(['erred', 'erred']);
    const errors = lost.toClient('c', 'task-erred').flatMap(m => m.errors);
    expect(errors[0]?.code).toBe('LOST_DATA');
    expect(errors.every(error => error.blame === 'data')).toBe(true);
  });

  it('waits for the client that makes a key which another only names', () => {
    const old = before();
    const h = successor(0);
    h.worker();
    const wish = {
      op: 'client-desires-keys' as const,
      cids: [7],
      keys: ['x-1'],
      again: 'others' as const
    };
    const last = old.resume('c').at(-1) as ClientToScheduler;
    say(h, 'd', [wish, last]);
    expect(h.states('x-1')).toEqual(['released']);
    say(h, 'c', old.resume('c'));
    h.finish('x-1');
    expect(h.toClient('d', 'key-in-memory').flatMap(m => m.cids)).toEqual([7]);
    // One that nobody makes is lost when the grace is over.
    h.handle({
      type: 'client-message',
      client: 'd',
      message: { ...wish, cids: [8], keys: ['z-1'] }
    });
    h.now += 5001;
    h.handle({ type: 'tick' });
    expect(h.toClient('d', 'task-erred').flatMap(m => m.cids)).toEqual([8]);
  });

  it('applies what was submitted, released and cancelled without a link', () => {
    const old = before();
    old.heard = false;
    old.submit('c', { 'd-1': ['c-1'] });
    old.cancel('c', 'b-1');
    old.submit('c', { 'e-1': ['x-1'] });
    old.release('c', 'x-1');
    const h = successor(2);
    comeBack(h, old, 1);
    comeBack(h, old, 2);
    say(h, 'c', old.resume('c'));
    const cancelled = h.toClient('c', 'cancelled-keys').flatMap(m => m.cids);
    expect(cancelled.sort()).toEqual(['c-1', 'd-1'].map(key => old.cid('c', key)).sort());
    expect(h.states('b-1', 'c-1', 'd-1', 'e-1')).toEqual([
      'forgotten',
      'forgotten',
      'forgotten',
      'processing'
    ]);
    h.finish('e-1');
    expect(h.states('x-1', 'e-1')).toEqual(['released', 'memory']);
  });
});

describe('peers that come back to the same scheduler', () => {
  it('a client finds its tasks as they are, and what it let go of meanwhile goes', () => {
    const old = before();
    old.handle({ type: 'client-lost', client: 'c' });
    old.heard = false;
    old.release('c', 'x-1');
    old.heard = true;
    old.now += 4000;
    old.handle({ type: 'tick' });
    const run = old.task('c-1').runId;
    const said = old.resume('c');
    for (const event of [{ type: 'add-client' as const, client: 'c', name: 'c' }])
      old.handle(event);
    for (const message of said)
      old.state.handle({ type: 'client-message', client: 'c', message }, old.now);
    expect(old.states('a-1', 'b-1', 'c-1', 'x-1')).toEqual([
      'memory',
      'memory',
      'processing',
      'forgotten'
    ]);
    expect(old.task('c-1').runId).toBe(run);
  });

  it('a client that stays away is forgotten after its grace', () => {
    const old = before();
    old.handle({ type: 'client-lost', client: 'c' });
    old.now += 5001;
    old.handle({ type: 'tick' });
    expect(isEmpty(old.state)).toBe(true);
  });

  it('a client that is lost in the middle of its return says all of it again', () => {
    const old = before();
    const h = successor(0);
    h.worker();
    say(h, 'c', old.resume('c').slice(0, -1));
    h.handle({ type: 'client-lost', client: 'c' });
    say(h, 'c', old.resume('c'));
    expect(h.states('a-1', 'b-1', 'c-1', 'x-1')).toEqual([
      'processing',
      'waiting',
      'waiting',
      'processing'
    ]);
    h.handle({ type: 'remove-client', client: 'c' });
    expect(isEmpty(h.state)).toBe(true);
  });

  it('a worker keeps values of tasks that are still the same, and no others', () => {
    const old = before();
    const held = [...old.state.workers.get(1)!.hasWhat].map(task => task.key);
    const again = comeBack(old, old, 1);
    const [hello] = old.toWorker(again, 'hello');
    expect(hello?.adopted).toEqual(held.map(key => old.task(key).id));
    // The old link ends afterwards: nothing is lost or computed again.
    old.lose(1, true);
    for (const key of held) expect(old.states(key)).toEqual(['memory']);
    const stale = old.state.nextWorker;
    old.handle({
      type: 'add-worker',
      worker: stale,
      facts: { ...old.state.workers.get(again)!.facts, address: 'http://stale' },
      held: { epoch: 'old', tids: [77], keys: ['a-1'], nbytes: [1], types: [''], running: [] }
    });
    expect(old.toWorker(stale, 'hello')[0]?.adopted).toEqual([-1]);
  });
});

describe('values and wishes that cross each other', () => {
  it('a value that comes with what needed it is let go of, not half kept', () => {
    const h = successor(1);
    h.client('c');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] }, { wants: ['b-1'] });
    const facts = {
      name: 'w',
      address: 'http://w',
      host: 'w',
      pid: 1,
      nthreads: 1,
      memoryLimit: 0,
      resources: {},
      nanny: ''
    };
    const columns = { tids: [7, 8], keys: ['a-1', 'b-1'], nbytes: [1, 1], types: ['', ''] };
    const held = { epoch: 'old', ...columns, running: [] };
    h.handle({ type: 'add-worker', worker: 1, facts, held });
    expect(h.states('a-1', 'b-1')).toEqual(['released', 'memory']);
    expect(h.toWorker(1, 'free-keys').flatMap(message => message.tids)).toEqual([h.task('a-1').id]);
  });

  it('what a client that is back wants no more is let go of when it has said all', () => {
    const h = new Recorded({ epoch: 'same' });
    h.worker();
    h.client('c');
    h.submit('c', { 'a-1': [], 'b-1': ['a-1'] });
    h.finish('a-1');
    h.handle({ type: 'client-lost', client: 'c' });
    h.heard = false;
    h.release('c', 'a-1');
    h.heard = true;
    say(h, 'c', h.resume('c'));
    expect(h.task('a-1').wants).toBe(0);
    h.finish('b-1');
    expect(h.states('a-1', 'b-1')).toEqual(['released', 'memory']);
  });

  it('a key given up while only its name was known is made when its owner comes back', () => {
    const old = new Recorded({ epoch: 'old' });
    old.client('owner');
    old.submit('owner', { 'a-1': [] });
    const h = new Harness({ epoch: 'new', clientGrace: 100 });
    h.worker();
    h.client('other');
    const wish = { op: 'client-desires-keys' as const, cids: [5], keys: ['a-1'] };
    h.handle({ type: 'client-message', client: 'other', message: { ...wish, again: 'others' } });
    const last = { op: 'update-graph' as const, again: 'last' as const };
    const empty = old.resume('owner').find(m => m.op === 'update-graph' && m.again === 'last');
    if (empty?.op === 'update-graph')
      h.handle({ type: 'client-message', client: 'other', message: { ...empty, ...last } });
    h.now += 1000;
    h.handle({ type: 'tick' });
    expect(h.states('a-1')).toEqual(['erred']);
    say(h, 'owner', old.resume('owner'));
    expect(h.states('a-1')).toEqual(['processing']);
    h.finish('a-1');
    expect(h.toClient('other', 'key-in-memory').flatMap(message => message.cids)).toEqual([5]);
  });
});
