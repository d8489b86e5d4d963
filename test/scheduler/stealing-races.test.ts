/**
 * A real scheduler state and real worker states, their links as queues that a random history works
 * off in any order: whatever overtakes a steal request, a task is on one worker at a time, runs once
 * as long as no worker dies, and ends.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { SchedulerToWorker, WorkerToScheduler } from '../../src/protocol/messages.ts';
import { WorkerState } from '../../src/worker/state/state.ts';
import type { WorkerEvent } from '../../src/worker/state/state.ts';
import { Harness } from './harness.ts';

const TASKS = 16;
const OWNING = ['waiting', 'ready', 'constrained', 'executing', 'long-running'];

interface Member {
  state: WorkerState;
  inbox: SchedulerToWorker[];
  outbox: WorkerToScheduler[];
  /** Handed to its one executor: the first has begun. */
  handed: { tid: number; runId: number }[];
}

class Cluster extends Harness {
  readonly members = new Map<number, Member>();
  readonly runs = new Map<number, number>();
  /** Short tasks are handed ahead: these must be recalled to be stolen. */
  private readonly duration: number;
  steals = 0;

  constructor(workers: number, duration: number) {
    super({ noWorkersTimeout: 0 });
    this.duration = duration;
    for (let i = 0; i < workers; i++) this.join();
    this.client('c');
  }

  join(): void {
    const id = this.state.nextWorker;
    const facts = { worker: id, address: '', host: '', nthreads: 1, memoryLimit: 0 };
    const state = new WorkerState(facts);
    this.members.set(id, { state, inbox: [], outbox: [], handed: [] });
    this.worker(1);
  }

  /** All tasks are for the first worker, if it is there. */
  submitAll(): void {
    const graph = Object.fromEntries(Array.from({ length: TASKS }, (_, i) => [`t${i}-0`, []]));
    this.submit('c', graph, { workers: ['w1'], allowOtherWorkers: true });
    this.state.prefixes.get('f')?.learn(this.duration);
  }

  override handle(event: Parameters<Harness['handle']>[0]): ReturnType<Harness['handle']> {
    const said = super.handle(event);
    for (const one of said) {
      if (one.to === 'worker') this.members.get(one.worker)?.inbox.push(one.message);
    }
    return said;
  }

  private member(pick: number): [number, Member] | undefined {
    const all = [...this.members];
    return all[pick % Math.max(1, all.length)];
  }

  private tell(member: Member, event: WorkerEvent): void {
    const instructions = member.state.handle(event, this.now);
    member.state.validate();
    for (const one of instructions) {
      if (one.op === 'send') member.outbox.push(one.message);
      else if (one.op === 'execute') member.handed.push({ tid: one.tid, runId: one.runId });
      else if (one.op === 'recall-executions') this.recall(member, one.tids);
    }
  }

  private recall(member: Member, tids: number[]): void {
    for (const tid of tids) {
      const at = member.handed.findIndex(one => one.tid === tid);
      const back = at > 0;
      const runId = member.handed[at]?.runId ?? 0;
      if (back) member.handed.splice(at, 1);
      const op = back ? 'execute-returned' : 'execute-kept';
      this.tell(member, { op, tids: [tid], runIds: [runId] });
    }
  }

  receive(pick: number): void {
    const [, member] = this.member(pick) ?? [];
    const message = member?.inbox.shift();
    if (member === undefined || message === undefined) return;
    if (message.op === 'hello' || message.op === 'functions' || message.op === 'close') return;
    if (message.op === 'request') return;
    this.tell(member, message as WorkerEvent);
  }

  report(pick: number): void {
    const [id, member] = this.member(pick) ?? [];
    const message = member?.outbox.shift();
    if (id === undefined || message === undefined) return;
    if (message.op === 'steal-response') {
      this.steals += message.states.filter(state => state === 'ready').length;
    }
    this.handle({ type: 'worker-message', worker: id, message });
  }

  finishOne(pick: number): void {
    const [, member] = this.member(pick) ?? [];
    const one = member?.handed.shift();
    if (member === undefined || one === undefined) return;
    const { tid, runId } = one;
    this.runs.set(tid, (this.runs.get(tid) ?? 0) + 1);
    const columns = { nbytes: [8], types: [''], lanes: [0], starts: [this.now], inline: [null] };
    const durations = [this.duration];
    this.tell(member, {
      op: 'execute-success',
      tids: [tid],
      runIds: [runId],
      durations,
      ...columns
    });
  }

  pause(pick: number, on: boolean): void {
    const [, member] = this.member(pick) ?? [];
    if (member !== undefined) this.tell(member, { op: on ? 'pause' : 'unpause' });
  }

  die(pick: number): void {
    const [id] = this.member(pick) ?? [];
    if (id === undefined || this.members.size < 2) return;
    this.members.delete(id);
    this.lose(id, true);
  }

  tick(): void {
    this.now += 1000;
    this.handle({ type: 'tick' });
  }

  /** Who has each task, or is about to get it. */
  checkOwners(): void {
    const owners = new Map<number, number>();
    const add = (tid: number): void => void owners.set(tid, (owners.get(tid) ?? 0) + 1);
    for (const { state, inbox } of this.members.values()) {
      for (const task of state.tasks.values()) if (OWNING.includes(task.state)) add(task.tid);
      for (const message of inbox) if (message.op === 'compute-tasks') message.tids.forEach(add);
    }
    for (const [, count] of owners) expect(count).toBe(1);
  }

  private get atRest(): boolean {
    const quiet = [...this.members.values()].every(
      ({ inbox, outbox, handed }) => inbox.length + outbox.length + handed.length === 0
    );
    return quiet && this.state.stealing.byTask.size === 0;
  }

  drain(): void {
    for (let round = 0; round < 2000 && !(round > 0 && this.atRest); round++) {
      for (let i = 0; i < this.members.size; i++) {
        this.pause(i, false);
        this.receive(i);
        this.finishOne(i);
        this.report(i);
      }
      this.checkOwners();
    }
  }
}

const pick = fc.nat(3);
type Act = (cluster: Cluster) => void;
const step: fc.Arbitrary<Act> = fc.oneof(
  { weight: 10, arbitrary: pick.map(p => (c: Cluster) => c.receive(p)) },
  { weight: 8, arbitrary: pick.map(p => (c: Cluster) => c.report(p)) },
  { weight: 3, arbitrary: pick.map(p => (c: Cluster) => c.finishOne(p)) },
  { weight: 4, arbitrary: fc.constant((c: Cluster) => c.tick()) },
  fc.tuple(pick, fc.boolean()).map(
    ([p, on]) =>
      (c: Cluster) =>
        c.pause(p, on)
  ),
  fc.constant((c: Cluster) => c.join())
);
const death: fc.Arbitrary<Act> = pick.map(p => (c: Cluster) => c.die(p));
const history = (steps: fc.Arbitrary<Act>): fc.Arbitrary<Act[]> =>
  fc.array(steps, { minLength: 20, maxLength: 150, size: 'max' });
/** Never handed ahead, one ahead, many ahead. */
const durations = fc.constantFrom(300, 45, 0.5);

it('a task is on one worker at a time, and runs once', () => {
  let steals = 0;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3 }), durations, history(step), (n, duration, acts) => {
      const cluster = new Cluster(n, duration);
      cluster.submitAll();
      for (const act of acts) {
        act(cluster);
        cluster.checkOwners();
      }
      cluster.drain();
      for (let i = 0; i < TASKS; i++) expect(cluster.states(`t${i}-0`)).toEqual(['memory']);
      expect([...cluster.runs.values()]).toEqual(Array<number>(TASKS).fill(1));
      expect(cluster.state.stealing.byTask.size).toBe(0);
      steals += cluster.steals;
    }),
    { numRuns: 60 }
  );
  expect(steals).toBeGreaterThan(50);
});

it('and ends although workers die', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 4 }),
      durations,
      history(fc.oneof({ weight: 20, arbitrary: step }, death)),
      (n, duration, acts) => {
        const cluster = new Cluster(n, duration);
        cluster.submitAll();
        for (const act of acts) {
          act(cluster);
          cluster.checkOwners();
        }
        cluster.drain();
        for (let i = 0; i < TASKS; i++) expect(cluster.states(`t${i}-0`)).toEqual(['memory']);
      }
    ),
    { numRuns: 60 }
  );
});
