/** The journal: its bytes, what is replayed, and its files. */
import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeHeader, frame, readJournal } from '../../src/scheduler/journal/frames.ts';
import { clusterOfJournal, Journal } from '../../src/scheduler/journal/journal.ts';
import { historySince, recordOf, replay, snapshot } from '../../src/scheduler/journal/records.ts';
import type { JournalRecord } from '../../src/scheduler/journal/records.ts';
import { DEFAULT_OPTIONS, SchedulerState } from '../../src/scheduler/state/state.ts';
import type { SchedulerEvent } from '../../src/scheduler/state/state.ts';
import { isEmpty, validate } from '../../src/scheduler/state/validate.ts';
import { Harness } from './harness.ts';

const CLUSTER = { id: 'manual-1', name: 'lab' };

function bytesOf(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap(part => [...part]));
}

describe('bytes', () => {
  const records = [{ op: 'a', x: 1 }, { op: 'b', bytes: new Uint8Array(300) }, { op: 'c' }];
  const whole = bytesOf(encodeHeader(CLUSTER), ...records.map(frame));

  it('come back as they were written', () => {
    const read = readJournal(whole, 'x');
    expect(read.header.cluster).toEqual(CLUSTER);
    expect(read.records).toEqual(records);
    expect(read.whole).toBe(whole.length);
  });

  it('a torn tail is cut wherever it is torn', () => {
    const last = frame(records[2]);
    const start = whole.length - last.length;
    for (let length = start; length < whole.length; length++) {
      const read = readJournal(whole.subarray(0, length), 'x');
      expect(read.records).toEqual(records.slice(0, 2));
      expect(read.whole).toBe(start);
    }
  });

  it('a flipped bit before whole records stops with the file, the place and what to do', () => {
    const first = encodeHeader(CLUSTER).length;
    const second = first + frame(records[0]).length;
    for (let at = first; at < whole.length - frame(records[2]).length; at += 7) {
      const damaged = whole.slice();
      damaged[at] = (damaged[at] as number) ^ 4;
      const place = at < second ? first : second;
      expect(() => readJournal(damaged, '/some/journal-000001.log')).toThrow(
        new RegExp(`/some/journal-000001.log .* damaged from byte ${place} .*truncate -s ${place}`)
      );
    }
  });

  it('another version and another file are refused', () => {
    expect(() => readJournal(new Uint8Array([1, 2, 3]), 'x')).toThrow(/whole header/);
    const other = frame({ magic: 'taskloom journal', version: 99, cluster: CLUSTER });
    expect(() => readJournal(other, 'x')).toThrow(/version 99/);
    expect(() => readJournal(frame({ magic: 'no' }), 'x')).toThrow(/no journal/);
  });
});

/** A harness whose events are recorded as the scheduler's shell does. */
class Journalled extends Harness {
  readonly records: JournalRecord[] = [];
  readonly recorded = { stream: 0, story: 0 };

  override handle(event: SchedulerEvent): ReturnType<Harness['handle']> {
    this.state.endedForgotten ??= [];
    const said = super.handle(event);
    const record = recordOf(event, this.now);
    if (record !== null) this.records.push(record);
    if (event.type === 'add-worker')
      this.records.push({ op: 'workers', count: this.state.workers.size });
    const ended = this.state.endedForgotten.splice(0);
    if (ended.length > 0) this.records.push({ op: 'forgotten-ended', keys: ended });
    return said;
  }
}

/** Two clients, shared inputs, failures, a dataset, fired and forgotten tasks, data; some are gone. */
function scene(): Journalled {
  const h = new Journalled();
  h.worker();
  h.worker();
  h.client('c');
  h.client('d');
  h.submit('c', { 'a-1': [], 'b-1': ['a-1'], 'c-1': ['b-1', 'b-1'] }, { retries: 2, priority: 3 });
  h.submit('c', { 'f-1': [], 'g-1': ['f-1'] });
  h.submit('d', { 'b-1': [], 'x-1': ['b-1'], 'y-1': [] }, { fn: 'g' });
  h.release('c', 'a-1', 'b-1');
  h.handle({
    type: 'client-message',
    client: 'c',
    message: { op: 'fire-and-forget', cids: ['c-1', 'f-1'].map(key => h.cid('c', key)) }
  });
  h.handle({
    type: 'client-message',
    client: 'd',
    message: {
      op: 'publish-dataset',
      name: 'set',
      cids: [h.cid('d', 'x-1')],
      value: new Uint8Array([7])
    }
  });
  h.finish('a-1');
  h.finish('f-1');
  return h;
}

function restored(records: readonly JournalRecord[], now = 5000): SchedulerState {
  const state = new SchedulerState({
    ...DEFAULT_OPTIONS,
    cluster: { id: 't', name: 't', kind: 't' }
  });
  replay(state, structuredClone(records) as JournalRecord[], now, 30_000);
  validate(state);
  return state;
}

/** What a state wants and how it would make it. */
function wishes(state: SchedulerState): object {
  return Object.fromEntries(
    [...state.tasks.values()]
      .map(
        task =>
          [
            task.key,
            {
              fn: task.fn?.name,
              args: [...task.args.subarray(task.argStart, task.argEnd)],
              deps: (state.repeats.get(task) ?? task.deps).map(dep => dep.key),
              wants: task.wants,
              demands: { ...task.demands, owner: null, generation: 0 }
            }
          ] as const
      )
      .sort(([a], [b]) => (a < b ? -1 : 1))
  );
}

describe('a replay', () => {
  it('knows again what was wanted, by whom, and how it is made', () => {
    const h = scene();
    const state = restored(h.records);
    expect(wishes(state)).toEqual(wishes(h.state));
    expect([...state.clients.keys()]).toEqual(['c', 'd']);
    expect(state.datasets.get('set')?.keys).toEqual(['x-1']);
    // What had ended does not run again for its own sake.
    expect(state.byKey.get('f-1')?.wants).toBe(1);
  });

  it('of a snapshot gives the same, and so does a snapshot of that', () => {
    const h = scene();
    const once = restored([...snapshot(h.state, h.now)]);
    expect(wishes(once)).toEqual(wishes(h.state));
    expect(once.datasets.get('set')?.value).toEqual(new Uint8Array([7]));
    const twice = restored([...snapshot(once, 6000)]);
    expect(wishes(twice)).toEqual(wishes(h.state));
    const later = restored([
      ...snapshot(h.state, h.now),
      {
        op: 'event',
        at: 1,
        event: {
          type: 'client-message',
          client: 'c',
          message: { op: 'client-releases-keys', cids: [h.cid('c', 'g-1')] }
        }
      }
    ]);
    expect(later.byKey.has('g-1')).toBe(false);
  });

  it('waits for the workers there were, then runs what is wanted', () => {
    const state = restored(scene().records);
    const facts = {
      name: 'w',
      address: 'http://w',
      host: 'h',
      pid: 1,
      nthreads: 4,
      memoryLimit: 0,
      resources: {},
      nanny: ''
    };
    state.handle({ type: 'add-worker', worker: state.nextWorker, facts }, 5100);
    expect(state.totalThreads).toBe(0);
    state.handle({ type: 'tick' }, 10_500);
    validate(state);
    expect(state.byKey.get('a-1')?.state).toBe('processing');
  });

  it('forgets clients that do not come back, and keeps what belongs to none', () => {
    const state = restored(scene().records);
    state.handle({ type: 'tick' }, 36_000);
    validate(state);
    expect(state.clients.size).toBe(0);
    expect([...state.byKey.keys()].sort()).toEqual(['a-1', 'b-1', 'c-1', 'x-1']);
    state.handle({ type: 'forgotten-ended', keys: ['c-1'] }, 36_001);
    expect([...state.byKey.keys()].sort()).toEqual(['a-1', 'b-1', 'x-1']);
  });

  it('brings the history back, under the numbers of this state', () => {
    const h = scene();
    const history = historySince(h.state, h.recorded);
    expect(history?.workers).toHaveLength(2);
    expect(historySince(h.state, h.recorded)).toBeNull();
    const state = restored([
      { op: 'event', at: 1, event: { type: 'add-client', client: 'z', name: 'z' } },
      history as JournalRecord
    ]);
    expect(state.stream.count).toBe(2);
    expect(state.story.of('a-1')).toEqual(h.state.story.of('a-1'));
    expect(state.prefixes.get('f')?.duration).toBe(h.state.prefixes.get('f')?.duration);
    expect(state.nextWorker).toBeGreaterThan(2);
  });

  it('of clients that have all gone leaves nothing', () => {
    const h = new Journalled();
    h.client('c');
    h.submit('c', { 'a-1': [] });
    h.handle({ type: 'remove-client', client: 'c' });
    expect(isEmpty(restored(h.records))).toBe(true);
  });
});

describe('files', () => {
  let folder = '';
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'taskloom-journal-'))));
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const written: JournalRecord[] = Array.from({ length: 20 }, (_, i) => ({
    op: 'workers',
    count: i
  }));

  it('are opened again with all that was appended', () => {
    const first = Journal.open(folder, CLUSTER);
    expect(first.cluster).toBeNull();
    for (const record of written) first.journal.append(record);
    first.journal.close();
    expect(clusterOfJournal(folder)).toEqual(CLUSTER);
    const again = Journal.open(folder, { id: 'other', name: 'other' });
    expect(again.cluster).toEqual(CLUSTER);
    expect(again.records).toEqual(written);
    again.journal.close();
  });

  it('a torn tail is cut from the file, and said so; it goes on after that', () => {
    const first = Journal.open(folder, CLUSTER).journal;
    for (const record of written) first.append(record);
    first.close();
    const path = join(folder, 'journal-000001.log');
    truncateSync(path, readFileSync(path).length - 3);
    const again = Journal.open(folder, CLUSTER);
    expect(again.note).toMatch(/journal-000001.log were not written whole/);
    expect(again.records).toEqual(written.slice(0, -1));
    again.journal.append({ op: 'workers', count: 99 });
    again.journal.close();
    const third = Journal.open(folder, CLUSTER);
    expect(third.records.at(-1)).toEqual({ op: 'workers', count: 99 });
    expect(third.records).toHaveLength(20);
    third.journal.close();
  });

  it('a snapshot takes the place of what came before; drafts count for nothing', () => {
    const { journal } = Journal.open(folder, CLUSTER);
    for (const record of written) journal.append(record);
    journal.snapshot([{ op: 'workers', count: 1 }]);
    journal.append({ op: 'workers', count: 2 });
    journal.close();
    writeFileSync(join(folder, 'journal-000003.log.draft'), 'half');
    const again = Journal.open(folder, CLUSTER);
    expect(again.records).toEqual([
      { op: 'workers', count: 1 },
      { op: 'workers', count: 2 }
    ]);
    expect(readdirSync(folder).sort()).toEqual(['journal-000002.log', 'lock']);
    again.journal.close();
  });

  it('belong to one scheduler at a time', () => {
    const { journal } = Journal.open(folder, CLUSTER);
    writeFileSync(join(folder, 'lock'), JSON.stringify({ pid: process.ppid, host: hostname() }));
    expect(() => Journal.open(folder, CLUSTER)).toThrow(
      /belongs to a scheduler that runs: process \d+/
    );
    journal.close();
  });

  it('one that is damaged in the middle stops the start', () => {
    const { journal } = Journal.open(folder, CLUSTER);
    for (const record of written) journal.append(record);
    journal.close();
    const path = join(folder, 'journal-000001.log');
    const bytes = readFileSync(path);
    bytes[200] = (bytes[200] as number) ^ 1;
    writeFileSync(path, bytes);
    expect(() => Journal.open(folder, CLUSTER)).toThrow(
      /journal-000001.log cannot be used: it is damaged/
    );
  });
});
