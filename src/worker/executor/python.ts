/**
 * The control thread's side of a Python executor: a process of its own, one slot each unless told
 * otherwise, that takes tasks in batches through a socket. It keeps large results as live objects;
 * frames of 1 MiB and more come through files. User code that holds the interpreter, or
 * crashes it, holds up nothing here: heartbeats and values of others go on.
 *
 * Which task ran when it died stands in a small file that the process has mapped.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { ProfileWish } from '../../protocol/profile.ts';
import type { StoredValue } from '../store.ts';
import { FiledValue, placeFor } from '../store/filed.ts';
import type { LiveHolder } from '../store/live.ts';
import type { Death, Executor, Handed } from './executor.ts';
import type {
  Failure,
  FromThread,
  ResultBatch,
  SentFunction,
  SentValue,
  ThreadSetup
} from './messages.ts';
import { LinkReader, sendMessage } from './python-link.ts';
import type { LinkMessage } from './python-link.ts';
import { reasonOf, startPython } from './python-process.ts';
import type { PythonSetup } from './python-process.ts';
import { readFetched, readResults } from './python-results.ts';
import type { Result } from './results.ts';
import type { ThreadStack } from './stacks.ts';

/** ms in which a process answers whether a task has begun; else it holds its interpreter. */
const RECALL_MS = 1000;
/** ms that a process has to end by itself. */
const CLOSE_MS = 500;
/** Characters of what it wrote last that a report quotes. */
const LAST_WORDS = 4000;
/** Frames from so many bytes on go through files, each of at most a part of the free space. */
const FILE_BYTES = 2 ** 20;
const SPACE_SHARE = 0.5;
/** Live values that one message asks for. */
const FETCHED_AT_ONCE = 32;
const HOLDS =
  'it does not answer: it is inside native code that holds the interpreter (the GIL), or starts.';

/** Who is told what a process says; another one, when a worker's pool is made anew. */
export interface PythonOwner {
  /** For what tasks ask of their executor; asked for when the first come. */
  context(): ThreadSetup['context'];
  receive(executor: PythonExecutor, message: Exclude<FromThread, ResultBatch>): void;
  /** What has ended since the last ones, and values that are live no more. */
  onResults(executor: PythonExecutor, results: readonly Result[], evicted: readonly number[]): void;
  onReady(packages: Record<string, string>): void;
  died(executor: PythonExecutor, death: Death): void;
}

interface Wanted {
  handle: number;
  drop: boolean;
  resolve(value: StoredValue | null): void;
}

export interface PythonOptions {
  lane: number;
  capacity: number;
  setup: PythonSetup;
  owner: PythonOwner;
}

export class PythonExecutor implements Executor, LiveHolder {
  readonly language = 'python';
  readonly lane: number;
  readonly queue = new Map<number, Handed>();
  readonly away = new Map<number, Handed>();
  readonly live = new Set<number>();
  readonly known = new Set<number>();
  owner: PythonOwner;
  private readonly options: PythonOptions;
  private readonly child: ChildProcess;
  private readonly link: Duplex;
  private readonly cells: string;
  private readonly answers = new Map<number, (message: LinkMessage | null) => void>();
  private nextSeq = 1;
  private nextRequest = 1;
  private killed: 'by us' | 'for memory' | null = null;
  private introduced = false;
  private ready = false;
  private over = false;
  private output = '';
  private spawnError = '';
  private wanted: Wanted[] = [];
  private pending: Handed[] = [];
  private values: (SentValue & { files: (string | null)[] })[] = [];
  private functions: SentFunction[] = [];

  constructor(options: PythonOptions) {
    this.options = options;
    this.owner = options.owner;
    this.lane = options.lane;
    const { setup } = options;
    for (const one of setup.folders) mkdirSync(one, { recursive: true, mode: 0o700 });
    const [first = ''] = setup.folders;
    this.cells = join(first, `cells-${options.lane}-${process.pid}-${unique++}`);
    writeFileSync(this.cells, Buffer.alloc(4 * (setup.threads + 1)), { mode: 0o600 });
    this.child = startPython(setup);
    this.link = this.child.stdio[3] as Duplex;
    this.listen();
    sendMessage(this.link, { op: 'setup', ...setup, cells: this.cells });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get room(): number {
    return this.options.capacity - this.queue.size;
  }

  hand(task: Omit<Handed, 'seq' | 'cell'>): Handed {
    const seq = this.nextSeq;
    this.nextSeq = seq === 0x7fffffff ? 1 : seq + 1;
    const handed = { ...task, seq, cell: 0 };
    this.queue.set(seq, handed);
    this.pending.push(handed);
    return handed;
  }

  sendFunction(sent: SentFunction): void {
    this.known.add(sent.fn);
    this.functions.push(sent);
  }

  /** Its frames are copied now: they may leave the store before they are sent. */
  sendValue(tid: number, value: StoredValue): void {
    const { family } = value;
    this.live.add(tid);
    if (value instanceof FiledValue) {
      const files = this.linked(value);
      if (files !== null) {
        const here = value.parts.filter(part => part instanceof Uint8Array);
        this.values.push({ tid, family, frames: here.map(part => Uint8Array.from(part)), files });
        return;
      }
    }
    const { frames } = value;
    const files = frames.map(frame => (frame.length >= FILE_BYTES ? this.toFile(frame) : null));
    const sent = frames.filter((_, i) => files[i] === null).map(frame => Uint8Array.from(frame));
    this.values.push({ tid, family, frames: sent, files });
  }

  /** Other names for its files; null when there can be none. */
  private linked(value: FiledValue): (string | null)[] | null {
    try {
      return value.link(path => placeFor(path, this.options.setup.folders), this.inputs);
    } catch {
      return null;
    }
  }

  /** How names of files begin that this process alone removes. */
  private get inputs(): string {
    return `input-${this.pid}-`;
  }

  /** A file, which the process maps and removes; null when there is no room for one. */
  private toFile(frame: Uint8Array): string | null {
    for (const folder of this.options.setup.folders) {
      const path = this.fileIn(folder, frame);
      if (path !== null) return path;
    }
    return null;
  }

  private fileIn(folder: string, frame: Uint8Array): string | null {
    const path = join(folder, `${this.inputs}w${unique++}`);
    try {
      const { bavail, bsize } = statfsSync(folder);
      if (frame.length > SPACE_SHARE * bavail * bsize) return null;
      writeFileSync(path, frame, { mode: 0o600 });
      return path;
    } catch {
      rmSync(path, { force: true });
      return null;
    }
  }

  post(): void {
    const { pending, functions, values } = this;
    if (pending.length === 0) return;
    this.introduce();
    this.pending = [];
    this.functions = [];
    this.values = [];
    let size = 0;
    const ends = pending.map(task => (size += task.args.length));
    const head = {
      op: 'tasks',
      fns: functions.map(({ fn }) => fn),
      names: functions.map(({ name }) => name),
      sent: values.map(({ tid }) => tid),
      families: values.map(({ family }) => family),
      // Of each frame of each value: its file, or null for one that is sent.
      files: values.map(({ files }) => files),
      seqs: pending.map(task => task.seq),
      tids: pending.map(task => task.tid),
      runIds: pending.map(task => task.runId),
      keys: pending.map(task => task.key),
      of: pending.map(task => task.fn),
      deps: pending.map(task => task.deps),
      announce: pending.map(task => task.announce),
      ends
    };
    const args = Buffer.concat(pending.map(task => task.args));
    const blobs = functions.map(({ blob }) => blob);
    sendMessage(this.link, head, [...blobs, ...values.flatMap(({ frames }) => frames), args]);
  }

  /** Before the first task: whose executor it is. */
  private introduce(): void {
    if (this.introduced) return;
    const context = this.owner.context();
    if (context === null) return;
    this.introduced = true;
    sendMessage(this.link, { op: 'context', ...context });
  }

  drop(tids: number[], fns: number[]): void {
    // After what was wanted before.
    this.fetchWanted();
    for (const tid of tids) this.live.delete(tid);
    for (const fn of fns) this.known.delete(fn);
    sendMessage(this.link, { op: 'drop', tids, fns });
  }

  collectGarbage(): void {
    sendMessage(this.link, { op: 'collect-garbage' });
  }

  recall(task: Handed): boolean {
    const at = this.pending.indexOf(task);
    if (at < 0) return false;
    this.pending.splice(at, 1);
    this.queue.delete(task.seq);
    return true;
  }

  async recallLater(tasks: readonly Handed[]): Promise<Handed[]> {
    const taken = tasks.filter(task => this.recall(task));
    const posted = tasks.filter(task => this.queue.get(task.seq) === task && task.cell === 0);
    if (posted.length === 0) return taken;
    const seqs = posted.map(task => task.seq);
    const answer = await this.request('recall', { seqs }, [], RECALL_MS);
    const recalled = new Set((answer?.head['seqs'] as number[] | undefined) ?? []);
    const back = posted.filter(task => recalled.has(task.seq) && this.queue.has(task.seq));
    for (const task of back) this.queue.delete(task.seq);
    return [...taken, ...back];
  }

  /** As its own notes say. */
  hasBegun(task: Handed): boolean {
    return task.cell < 0 || this.running().includes(task.seq);
  }

  finish(seq: number): Handed | undefined {
    const task = this.queue.get(seq) ?? this.away.get(seq);
    this.queue.delete(seq);
    this.away.delete(seq);
    return task;
  }

  move(seq: number, leaves: boolean): Handed | undefined {
    const [from, to] = leaves ? [this.queue, this.away] : [this.away, this.queue];
    const task = from.get(seq);
    if (task === undefined) return undefined;
    from.delete(seq);
    to.set(seq, task);
    task.cell = -1;
    return task;
  }

  kill(): void {
    this.killed ??= 'by us';
    this.child.kill('SIGKILL');
  }

  /** It takes more memory than the worker has. */
  killForMemory(): void {
    this.killed ??= 'for memory';
    this.child.kill('SIGKILL');
  }

  async close(): Promise<void> {
    this.queue.clear();
    this.away.clear();
    const wasOver = this.over;
    this.over = true;
    if (wasOver) return;
    sendMessage(this.link, { op: 'close' });
    const ended = new Promise(resolve => this.child.once('close', resolve));
    const timer = setTimeout(() => this.child.kill('SIGKILL'), CLOSE_MS);
    if (this.child.exitCode === null && this.child.pid !== undefined) await ended;
    clearTimeout(timer);
    this.cleanUp();
  }

  // ---------------------------------------------------------------- questions

  fetch(handle: number, drop: boolean): Promise<StoredValue | null> {
    if (this.wanted.length === 0) queueMicrotask(() => this.fetchWanted());
    return new Promise(resolve => this.wanted.push({ handle, drop, resolve }));
  }

  /** What was wanted in one turn goes in few messages: each waits for the interpreter. */
  private fetchWanted(): void {
    while (this.wanted.length > 0) {
      const some = this.wanted.splice(0, FETCHED_AT_ONCE);
      const tids = some.map(({ handle }) => handle);
      const drops = some.map(({ drop }) => drop);
      void this.request('fetch', { tids, drops }, []).then(answer => {
        const values = answer === null ? [] : readFetched(answer);
        some.forEach(({ resolve }, i) => resolve(this.valueOf(values[i] ?? null)));
      });
    }
  }

  private valueOf(fetched: StoredValue | string | null): StoredValue | null {
    if (typeof fetched !== 'string') return fetched;
    this.tell({ op: 'log', key: '', level: 'error', text: `A value cannot leave: ${fetched}` });
    return null;
  }

  /** Calls a function that is no task; packFrames of its result. */
  async run(blob: Uint8Array, args: Uint8Array): Promise<Uint8Array | Failure> {
    this.introduce();
    const answer = await this.request('run', {}, [blob, args]);
    if (answer === null) {
      const message = 'TaskError: The executor in which client.run called the function has ended.';
      return { code: 'EXECUTOR_DIED', message, traceback: '', exception: null };
    }
    return (answer.head['failure'] as Failure | null) ?? (answer.frames[0] as Uint8Array);
  }

  /** Stacks of the tasks that run, by sequence number. */
  async stacks(timeoutMs: number): Promise<Map<number, ThreadStack>> {
    const answer = await this.request('stacks', {}, [], timeoutMs);
    const found = new Map<number, ThreadStack>();
    if (answer === null) {
      for (const seq of this.running())
        found.set(seq, { frames: [], note: `Its process: ${HOLDS}` });
      return found;
    }
    for (const [seq, frames] of answer.head['stacks'] as [number, string[]][]) {
      const note = frames.length === 0 ? 'Its coroutine awaits something.' : '';
      found.set(seq, { frames, note });
    }
    return found;
  }

  /** The tree of calls that its profiler has seen, as JSON; null when it does not answer. */
  async profile(wanted: ProfileWish, timeoutMs: number): Promise<Uint8Array | null> {
    return (await this.request('profile', { ...wanted }, [], timeoutMs))?.frames[0] ?? null;
  }

  private request(
    op: string,
    fields: Record<string, unknown>,
    frames: Uint8Array[],
    timeoutMs = 0
  ): Promise<LinkMessage | null> {
    const id = this.nextRequest++;
    if (this.over) return Promise.resolve(null);
    sendMessage(this.link, { op, id, ...fields }, frames);
    return new Promise(resolve => {
      const timer =
        timeoutMs > 0 ? setTimeout(() => this.answered(id, null), timeoutMs) : undefined;
      this.answers.set(id, message => {
        clearTimeout(timer);
        resolve(message);
      });
    });
  }

  private answered(id: number, message: LinkMessage | null): void {
    const answer = this.answers.get(id);
    this.answers.delete(id);
    answer?.(message);
  }

  // ---------------------------------------------------------------- what it says

  private listen(): void {
    const { child, link } = this;
    const reader = new LinkReader(message => this.heard(message));
    link.on('data', (chunk: Buffer) => reader.push(chunk));
    link.on('error', () => undefined);
    const wrote = (level: 'info' | 'error') => (chunk: Buffer) => {
      const text = chunk.toString();
      this.output = (this.output + text).slice(-LAST_WORDS);
      this.tell({ op: 'log', key: '', level, text: text.replace(/\n$/, '') });
    };
    child.stdout?.on('data', wrote('info'));
    child.stderr?.on('data', wrote('error'));
    child.once('error', error => {
      this.spawnError = `${this.options.setup.python} cannot be run: ${error.message}`;
      if (child.pid === undefined) this.died(null, null);
    });
    child.once('close', (code, signal) => this.died(code, signal));
  }

  private tell(message: Exclude<FromThread, ResultBatch>): void {
    if (!this.over) this.owner.receive(this, message);
  }

  private tellResults(results: readonly Result[], evicted: readonly number[]): void {
    if (!this.over) this.owner.onResults(this, results, evicted);
  }

  private heard(message: LinkMessage): void {
    const { head } = message;
    switch (head['op']) {
      case 'ready':
        this.ready = true;
        this.owner.onReady(head['packages'] as Record<string, string>);
        return this.tell({ op: 'ready' });
      case 'results':
        return this.tellResults(readResults(message), head['evicted'] as number[]);
      case 'recalled':
        return this.recalled(message);
      case 'fetched':
      case 'ran':
      case 'stacks':
      case 'profile':
        return this.answered(head['id'] as number, message);
      case 'log':
        // What a task has printed is among the last words of its process.
        this.output = `${this.output}${String(head['text'])}\n`.slice(-LAST_WORDS);
        return this.tell(head as unknown as Exclude<FromThread, ResultBatch>);
      default:
        // began, lacking, seceded, rejoined, reschedule: as threads say them.
        return this.tell(head as unknown as Exclude<FromThread, ResultBatch>);
    }
  }

  /**
   * An answer that came too late finds tasks that count as kept here, and that the process, which
   * held its interpreter or was starting, has let go of: it gets them once more.
   */
  private recalled(message: LinkMessage): void {
    const id = message.head['id'] as number;
    if (this.answers.has(id)) return this.answered(id, message);
    for (const seq of message.head['seqs'] as number[]) {
      const task = this.queue.get(seq);
      if (task !== undefined) this.pending.push(task);
    }
    this.post();
  }

  // ---------------------------------------------------------------- its end

  /** Sequence numbers of the tasks that have its slots. */
  running(): number[] {
    try {
      const cells = readFileSync(this.cells);
      const seqs: number[] = [];
      for (let at = 4; at < cells.length; at += 4) {
        const seq = cells.readUInt32LE(at);
        if (seq !== 0) seqs.push(seq);
      }
      return seqs;
    } catch {
      return [];
    }
  }

  private died(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.over) return;
    const current = this.running();
    const all = [...this.queue.values(), ...this.away.values()];
    let running = all.filter(task => current.includes(task.seq));
    if (running.length === 0 && this.killed === null) running = [...this.away.values()];
    const others = all.filter(task => !running.includes(task));
    const stillborn = !this.ready && this.killed === null;
    this.queue.clear();
    this.away.clear();
    this.over = true;
    for (const id of [...this.answers.keys()]) this.answered(id, null);
    this.cleanUp();
    this.owner.died(this, {
      running,
      others,
      outOfMemory: this.killed === 'for memory',
      exitCode: code ?? -1,
      signal,
      killed: this.killed === 'by us',
      stillborn,
      error: this.spawnError || reasonOf(code, signal, this.output)
    });
  }

  private cleanUp(): void {
    this.link.destroy();
    rmSync(this.cells, { force: true });
    // Files that it has not come to map, or has not told of.
    const own = [this.inputs, `frame-${this.pid}-`, `kept-${this.pid}-`];
    for (const folder of this.options.setup.folders) {
      try {
        for (const name of readdirSync(folder)) {
          if (own.some(start => name.startsWith(start))) rmSync(join(folder, name));
        }
      } catch {
        // The worker has removed the whole folder already.
      }
    }
  }
}

let unique = 1;
