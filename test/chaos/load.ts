/**
 * One client's part in a chaos run: submits random graphs without end, scatters, cancels, releases
 * and retries, and judges how every future it wants has ended: with the value that its graph
 * defines, or with an error that its graph or the faults explain. Anything else is wrong or lost.
 */
import { existsSync } from 'node:fs';
import { Client } from '../../src/client/client.ts';
import type { CallOptions } from '../../src/client/call-options.ts';
import { fireAndForget } from '../../src/client/lasting.ts';
import type { Future } from '../../src/client/future.ts';
import type { Rng } from '../../src/base/rng.ts';
import type { Setting } from './setting.ts';
import type { Tally } from './tally.ts';
import { bodyOf, damageOf, hashOf, work } from './tasks.ts';
import type { Kind, Spec, Value } from './tasks.ts';

/** A task, or scattered data, as this client knows it. */
interface Planned {
  future: Future<Value>;
  spec: Spec;
  deps: Planned[];
  hash: number;
  /** When it was submitted. */
  born: number;
  scattered: boolean;
  cancelled: boolean;
}

interface Job {
  born: number;
  wanted: Planned[];
  reported: boolean;
}

/** Jobs of a client that run at a time. */
const JOBS_MOST = 6;
/** Bytes of large values that a client's running jobs may make. */
const BYTES_MOST = 120e6;
/** Results that a client keeps, for later graphs to stand on. */
const KEPT_MOST = 12;
/** ms after which a job is looked at while the faults go on. */
const STUCK_MS = 60_000;
const MIB = 2 ** 20;
/** Kinds that take their worker's process along. */
const KILLERS: ReadonlySet<Kind> = new Set(['segfaults', 'hogs', 'fills-heap']);

export class Load {
  readonly name: string;
  private readonly setting: Setting;
  private readonly tally: Tally;
  private readonly rng: Rng;
  private client!: Client;
  private readonly jobs = new Set<Job>();
  private readonly all = new Set<Planned>();
  private kept: Planned[] = [];
  /** Tasks that were fired and forgotten. */
  private readonly fired: { id: string; born: number }[] = [];
  private bytes = 0;
  private count = 0;
  private stopping = false;
  private loop: Promise<void> = Promise.resolve();

  constructor(name: string, setting: Setting, tally: Tally, rng: Rng) {
    this.name = name;
    this.setting = setting;
    this.tally = tally;
    this.rng = rng;
  }

  async start(): Promise<void> {
    this.client = await Client.connect(this.setting.cluster, { name: this.name });
    this.loop = this.run();
  }

  private async run(): Promise<void> {
    while (!this.stopping) {
      if (!this.client.session.isOpen) {
        return this.tally.lose(this.name, `its session ended: ${this.client.session.endReason}`);
      }
      if (this.jobs.size < JOBS_MOST && this.bytes < BYTES_MOST) await this.step();
      this.lookForStuck();
      await sleep(this.rng.integer(5, 120));
    }
  }

  private async step(): Promise<void> {
    const { rng } = this;
    const dice = rng.next();
    if (dice < 0.12) await this.scatter();
    else if (dice < 0.15) this.fireAndForget();
    else if (dice < 0.2 && this.kept.length > 0) this.letGo(rng.pick(this.kept));
    else this.submitGraph();
  }

  // ---------------------------------------------------------------- what a user does

  private submitGraph(): void {
    const { rng } = this;
    const size = rng.chance(0.15) ? rng.integer(30, 80) : rng.integer(1, 15);
    const shape = rng.pick(['wide', 'chain', 'tree', 'random', 'random'] as const);
    const options: CallOptions = {
      priority: rng.chance(0.1) ? rng.integer(-1, 2) : 0,
      retries: rng.chance(0.5) ? 2 : 0
    };
    const graph: Planned[] = [];
    for (let i = 0; i < size; i++) {
      graph.push(this.submit(this.randomSpec(), this.pickDeps(shape, graph), options));
    }
    const isInput = new Set(graph.flatMap(one => one.deps));
    const wanted = graph.filter(one => !isInput.has(one) || rng.chance(0.3));
    for (const one of graph) if (!wanted.includes(one)) one.future.release();
    const job = this.begin(wanted);
    if (rng.chance(0.12)) void this.cancelLater(rng.pick(wanted), rng.integer(1, 1500));
    void this.settle(job);
  }

  private pickDeps(shape: 'wide' | 'chain' | 'tree' | 'random', graph: Planned[]): Planned[] {
    const { rng } = this;
    const last = graph.at(-1);
    switch (shape) {
      case 'wide':
        return this.kept.length > 0 && rng.chance(0.2) ? [rng.pick(this.kept)] : [];
      case 'chain':
        return last === undefined ? [] : [last];
      case 'tree': {
        const pair = 2 * Math.floor(graph.length / 2);
        return rng.chance(0.5) ? [] : graph.slice(Math.max(0, pair - 2), pair);
      }
      case 'random': {
        const before = [...graph, ...this.kept];
        const deps = new Set<Planned>();
        const most = Math.min(rng.chance(0.1) ? 12 : 3, before.length);
        for (let i = rng.integer(0, most); i > 0; i--) deps.add(rng.pick(before));
        return [...deps];
      }
    }
  }

  private randomSpec(): Partial<Spec> & { kind: Kind } {
    const { rng } = this;
    const nbytes = rng.chance(0.06) ? 4 * rng.integer(MIB / 4, rng.chance(0.1) ? 7 * MIB : MIB) : 0;
    const dice = rng.next();
    if (dice < 0.75) return { kind: 'quick', nbytes };
    if (dice < 0.77) return { kind: 'submits', nbytes };
    if (dice < 0.88) return { kind: 'sleeps', ms: rng.integer(10, 1500), nbytes };
    if (dice < 0.96) return { kind: 'computes', ms: rng.integer(5, 200), nbytes };
    if (dice < 0.985) return { kind: 'flaky', times: rng.integer(1, 2), nbytes };
    if (dice < 0.99) return { kind: 'throws', times: 1e9 };
    return { kind: 'quick', nbytes };
  }

  private submit(
    partial: Partial<Spec> & { kind: Kind },
    deps: Planned[],
    options: CallOptions
  ): Planned {
    const id = `${this.name}-${this.count++}`;
    const salt = this.rng.integer(0, 0x7fffffff);
    const spec: Spec = {
      id,
      salt,
      ms: 0,
      nbytes: 0,
      times: 0,
      folder: this.setting.marks,
      ...partial
    };
    const inputs = deps.map(dep => dep.future as unknown as Value);
    const future = this.client.with({ ...options, key: id }).submit(work, spec, ...inputs);
    const hash = hashOf(
      salt,
      deps.map(dep => dep.hash)
    );
    this.tally.tasks++;
    const planned: Planned = {
      future,
      spec,
      deps,
      hash,
      born: Date.now(),
      scattered: false,
      cancelled: false
    };
    this.all.add(planned);
    return planned;
  }

  /** Submits one task that misbehaves, as a fault. */
  misbehave(kind: Kind, options: { times?: number; timeout?: number; cancelAfter?: number }): void {
    const { times = 1e9, timeout, cancelAfter } = options;
    const one = this.submit({ kind, times }, [], timeout === undefined ? {} : { timeout });
    const after = this.submit({ kind: 'quick' }, [one], {});
    if (cancelAfter !== undefined) void this.cancelLater(one, cancelAfter, true);
    void this.settle(this.begin([one, after]));
  }

  /** A task whose result nobody wants; only its file tells that it ran. */
  private fireAndForget(): void {
    const input = this.submit({ kind: 'sleeps', ms: this.rng.integer(1, 500) }, [], {});
    const one = this.submit({ kind: 'writes' }, [input], {});
    fireAndForget(one.future);
    this.fired.push({ id: one.spec.id, born: one.born });
    for (const { future } of [input, one]) future.release();
    for (const planned of [input, one]) this.forget(planned);
  }

  private async scatter(): Promise<void> {
    const { rng } = this;
    const id = `${this.name}-${this.count++}`;
    const salt = rng.integer(0, 0x7fffffff);
    const hash = hashOf(salt, []);
    const nbytes = rng.chance(0.3) ? 4 * rng.integer(MIB / 4, MIB) : 0;
    const born = Date.now();
    const value = { hash, body: bodyOf(hash, nbytes) };
    const broadcast = rng.chance(0.2);
    let future: Future<Value>;
    try {
      future = await this.client.with({ key: id }).scatter(value, { broadcast });
    } catch (error) {
      // The chosen worker may be one that a fault is about to take; a user tries again.
      this.tally.refused(`scatter: ${(error as Error).message}`);
      return;
    }
    const spec: Spec = {
      id,
      salt,
      kind: 'quick',
      ms: 0,
      nbytes,
      times: 0,
      folder: this.setting.marks
    };
    const one = { future, spec, deps: [], hash, born, scattered: true, cancelled: false };
    this.tally.scattered++;
    this.all.add(one);
    void this.settle(this.begin([one]), true);
  }

  private async cancelLater(one: Planned, ms: number, force = this.rng.chance(0.5)): Promise<void> {
    await sleep(ms);
    if (!this.client.session.isOpen || one.future.status === 'cancelled') return;
    // All that stands on it goes along.
    const gone = new Set([one]);
    for (const other of this.all) if (other.deps.some(dep => gone.has(dep))) gone.add(other);
    for (const other of gone) other.cancelled = true;
    this.kept = this.kept.filter(other => !gone.has(other));
    this.tally.cancelled++;
    one.future.cancel({ force });
  }

  private letGo(one: Planned): void {
    this.kept = this.kept.filter(other => other !== one);
    one.future.release();
    this.forget(one);
  }

  /** Errors are judged by what a task stands on: records stay as long as something may. */
  private forget(one: Planned): void {
    this.all.delete(one);
  }

  // ---------------------------------------------------------------- how it ends

  private begin(wanted: Planned[]): Job {
    const job = { born: Date.now(), wanted, reported: false };
    this.jobs.add(job);
    for (const one of wanted) this.bytes += one.spec.nbytes;
    return job;
  }

  private async settle(job: Job, keep = this.rng.chance(0.3)): Promise<void> {
    for (const one of job.wanted) {
      try {
        await this.judge(one);
      } catch (error) {
        this.tally.lose(one.spec.id, `judging it failed: ${(error as Error).stack}`);
      }
    }
    this.jobs.delete(job);
    for (const one of job.wanted) {
      this.bytes -= one.spec.nbytes;
      const wish = keep && !this.stopping && one.future.status === 'finished' && !one.cancelled;
      if (wish && this.kept.length < KEPT_MOST) this.kept.push(one);
      else {
        one.future.release();
        this.forget(one);
      }
    }
  }

  private async judge(one: Planned): Promise<void> {
    for (let tries = 0; ; tries++) {
      const error = await this.outcome(one);
      if (error === null) return;
      const again = tries < 4 && !one.cancelled && !this.stopping && this.rng.chance(0.3);
      if (again && one.future.status === 'error') {
        this.tally.retried++;
        one.future.retry();
        continue;
      }
      await this.judgeError(one, error);
      return;
    }
  }

  /** Checks the value; or gives the error. */
  private async outcome(one: Planned): Promise<Error | null> {
    let value: Value;
    try {
      value = await one.future.result();
    } catch (error) {
      return error as Error;
    }
    const damage = damageOf(value);
    const size = value.body?.length ?? 0;
    if (damage !== null) this.tally.wrong(one.spec.id, `damaged: ${damage}`);
    else if (value.hash !== one.hash)
      this.tally.wrong(one.spec.id, `${value.hash}, not ${one.hash}`);
    else if (size !== one.spec.nbytes) this.tally.wrong(one.spec.id, `${size} bytes`);
    else this.tally.right++;
    return null;
  }

  private async judgeError(one: Planned, error: Error): Promise<void> {
    let why = this.explanationOf(one, error);
    if (why === null) {
      // A worker that goes has said so to its scheduler before its process is seen to have ended.
      await this.setting.look();
      why = this.explanationOf(one, error);
    }
    if (why !== null) return this.tally.explain(why);
    const { code } = error as { code?: string };
    this.tally.lose(one.spec.id, `${code ?? error.name}: ${error.message}`);
  }

  /** What of the graph or the faults explains an error, or null. */
  private explanationOf(one: Planned, error: Error): string | null {
    const { code, key } = error as { code?: string; key?: string };
    if (code === undefined) {
      const planned = /^planned: (\S+)/.exec(error.message)?.[1];
      const blamed = planned === undefined ? null : findBelow(one, planned);
      return blamed !== null && blamed.spec.times > 0 ? 'the task throws' : null;
    }
    if (code === 'CANCELLED') return anyBelow(one, dep => dep.cancelled) ? 'cancelled' : null;
    const blamed = key === undefined ? null : findBelow(one, key);
    if (blamed === null) return null;
    const { kind } = blamed.spec;
    const losses = this.setting.lossesSince(blamed.born);
    switch (code) {
      case 'KILLED_WORKER':
        if (KILLERS.has(kind) && blamed.spec.times > 3) return 'the task kills its workers';
        return losses > 3 ? 'its workers were killed four times' : null;
      case 'LOST_DATA':
        return blamed.scattered && losses > 0 ? 'scattered data died with its worker' : null;
      case 'TASK_TIMEOUT':
        return kind === 'endless' ? 'the task passed its timeout' : null;
      case 'WORKER_MEMORY':
        return kind === 'fills-heap' || kind === 'hogs' ? 'the task needs too much memory' : null;
      case 'EXECUTOR_DIED':
        return kind === 'exits' ? 'the task ends its executor' : null;
      default:
        return null;
    }
  }

  // ---------------------------------------------------------------- stuck and the end

  private lookForStuck(): void {
    const now = Date.now();
    for (const job of this.jobs) {
      if (job.reported || now - job.born < STUCK_MS) continue;
      const one = job.wanted.find(wanted => !wanted.future.done());
      if (one === undefined) continue;
      job.reported = true;
      void this.describe(one).then(text => this.tally.note(text));
    }
  }

  /** Why a future has not ended: what the scheduler says of it. */
  private async describe(one: Planned): Promise<string> {
    const lines = [`${one.spec.id} (${one.spec.kind}) is ${one.future.status}`];
    try {
      const why = await within(10_000, this.client.explain(one.future));
      lines.push(why);
      const cause = findBelow(one, /for (\S+) \(processing\)/.exec(why)?.[1] ?? one.spec.id);
      if (cause !== null) lines.push(await this.describeCause(cause));
      const story = await within(10_000, this.client.story(one.future));
      for (const { start, finish, stimulus } of story.slice(-30)) {
        lines.push(`  ${start} -> ${finish} (${stimulus})`);
      }
    } catch (error) {
      lines.push((error as Error).message);
    }
    return lines.join('\n    ');
  }

  /** What a task is, and what it does at the moment. */
  private async describeCause({ spec, born }: Planned): Promise<string> {
    const seconds = Math.round((Date.now() - born) / 1000);
    const stacks = await within(20_000, this.client.callStacks([spec.id]));
    const text = JSON.stringify(stacks).slice(0, 1500);
    return `${spec.id} is of kind ${spec.kind}, submitted ${seconds} s ago; it runs: ${text}`;
  }

  /** Submits nothing any more; waits until all has ended, and says what has not. */
  async finish(limitMs: number): Promise<void> {
    this.stopping = true;
    await this.loop;
    const end = Date.now() + limitMs;
    while (this.jobs.size > 0 && Date.now() < end) {
      this.lookForStuck();
      await sleep(100);
    }
    for (const job of this.jobs) {
      for (const one of job.wanted.filter(wanted => !wanted.future.done()).slice(0, 3)) {
        this.tally.lose(one.spec.id, `it never ended: ${await this.describe(one)}`);
      }
    }
    await this.checkFired(end);
    for (const one of this.kept.splice(0)) one.future.release();
    for (const one of this.all) one.future.release();
    this.all.clear();
  }

  /** Without a journal a scheduler forgets with its death what no client waits for. */
  private async checkFired(end: number): Promise<void> {
    const { marks, kills } = this.setting;
    const sure = this.fired.filter(({ born }) => !kills.some(kill => kill > born));
    const hasRun = (id: string): boolean => existsSync(`${marks}/${id}.done`);
    while (!sure.every(({ id }) => hasRun(id)) && Date.now() < end) await sleep(100);
    for (const { id } of sure) {
      if (hasRun(id)) this.tally.right++;
      else this.tally.lose(id, 'it was fired and forgotten, and never ran');
    }
  }

  /** The connection, for looking at the cluster. */
  get connection(): Client {
    return this.client;
  }

  async close(): Promise<void> {
    await within(10_000, this.client.close());
  }
}

/** The task of this id that `one` stands on, itself included. */
function findBelow(one: Planned, id: string): Planned | null {
  let found: Planned | null = null;
  anyBelow(one, dep => {
    if (dep.spec.id === id) found = dep;
    return found !== null;
  });
  return found;
}

function anyBelow(one: Planned, test: (dep: Planned) => boolean): boolean {
  const seen = new Set([one]);
  for (const at of seen) {
    if (test(at)) return true;
    for (const dep of at.deps) seen.add(dep);
  }
  return false;
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
