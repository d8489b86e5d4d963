/** Real Python executors without a worker around them; functions are given as Python source. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ErrorRecord } from '../../../src/protocol/messages.ts';
import { captureFunction } from '../../../src/serialize/capture.ts';
import { deserializeValue, packFrames, serializeValue } from '../../../src/serialize/value.ts';
import { ExecutorPool } from '../../../src/worker/executor/pool.ts';
import { LiveStore } from '../../../src/worker/store/live.ts';
import { MemoryStore } from '../../../src/worker/store.ts';
import type { StoredValue } from '../../../src/worker/store.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const HERE = fileURLToPath(new URL('./', import.meta.url));

/** An interpreter with what tests need, or ''. */
export const PYTHON = [process.env['TASKLOOM_PYTHON'], join(ROOT, '.venv/bin/python'), 'python3']
  .filter(one => one !== undefined)
  .find(python => {
    try {
      execFileSync(python, ['-c', 'import cloudpickle, msgpack, numpy'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });

/** Writes what a Python client would. */
class Blobs {
  private readonly child = spawn(PYTHON ?? 'python3', [join(HERE, 'blobs.py')], {
    env: { ...process.env, PYTHONPATH: join(ROOT, 'python') },
    stdio: ['pipe', 'pipe', 'inherit']
  });
  private readonly waiting: ((line: string) => void)[] = [];

  constructor() {
    createInterface({ input: this.child.stdout }).on('line', line => this.waiting.shift()?.(line));
  }

  ask(question: object): Promise<Uint8Array> {
    return new Promise(resolve => {
      this.waiting.push(line => resolve(Uint8Array.from(Buffer.from(line, 'base64'))));
      this.child.stdin.write(`${JSON.stringify(question)}\n`);
    });
  }

  close(): void {
    this.child.stdin.end();
  }
}

export interface Success {
  nbytes: number;
  type: string;
  lane: number;
  inline: Uint8Array | null;
}

export type Outcome = Success | { error: ErrorRecord } | 'returned' | 'killed' | 'rescheduled';

export class PythonHarness {
  readonly inner = new MemoryStore();
  readonly lost: number[] = [];
  readonly store: LiveStore;
  readonly pool: ExecutorPool;
  readonly log: string[] = [];
  readonly kept: number[] = [];
  readonly seceded: number[] = [];
  readonly folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : ROOT, 'taskloom-test-'));
  version = '';
  private readonly blobs = new Blobs();
  private readonly waiting = new Map<number, (outcome: Outcome) => void>();
  private readonly beginnings = new Map<number, () => void>();
  private readonly functions = new Map<string, number>();
  private tid = 0;
  private fn = 0;

  constructor(
    nthreads = 1,
    options: { memoryLimit?: number; target?: number; threads?: boolean; python?: string } = {}
  ) {
    const memoryLimit = options.memoryLimit ?? 0;
    this.store = new LiveStore(this.inner, {
      target: options.target ?? 0,
      onLost: tids => this.lost.push(...tids)
    });
    const settle = (tid: number, outcome: Outcome): void => this.waiting.get(tid)?.(outcome);
    this.pool = new ExecutorPool({
      nthreads,
      memoryLimit,
      root: process.cwd(),
      address: 'http://127.0.0.1:1',
      store: this.store,
      keyOf: tid => `key-${tid}`,
      python: {
        python: options.python ?? PYTHON ?? 'python3',
        packagePath: join(ROOT, 'python'),
        folders: [this.folder],
        threads: options.threads === true
      },
      context: () => ({
        worker: { name: 'w', address: 'http://127.0.0.1:1', nthreads, memoryLimit },
        scheduler: { address: 'http://127.0.0.1:2', token: 'secret' }
      }),
      events: {
        onSuccess: event =>
          event.tids.forEach((tid, i) =>
            settle(tid, {
              nbytes: event.nbytes[i] ?? 0,
              type: event.types[i] ?? '',
              lane: event.lanes[i] ?? -1,
              inline: event.inline[i] ?? null
            })
          ),
        onFailure: (task, error) => settle(task.tid, { error }),
        onReturned: tids => tids.forEach(tid => settle(tid, 'returned')),
        onSeceded: tid => this.seceded.push(tid),
        onReschedule: tid => settle(tid, 'rescheduled'),
        onKept: tids => this.kept.push(...tids),
        onKilled: tid => settle(tid, 'killed'),
        onBegan: tid => this.beginnings.get(tid)?.(),
        onLog: (level, key, text) => this.log.push(`${level} ${key}: ${text}`),
        onBroken: reason => this.log.push(`broken: ${reason}`)
      }
    });
  }

  async start(): Promise<this> {
    const started = await this.pool.python.start();
    if (!('packages' in started)) throw new Error(started.reason);
    this.version = started.packages['python'] ?? '';
    return this;
  }

  /** The number of a Python function `f`. */
  async define(source: string): Promise<number> {
    const known = this.functions.get(source);
    if (known !== undefined) return known;
    const blob = await this.blobs.ask({ source });
    this.pool.addFunction(++this.fn, 'f', blob, 'python');
    this.functions.set(source, this.fn);
    return this.fn;
  }

  /** Hands a Python task over. `{ $dep: i }` in its arguments is the value of `deps[i]`. */
  async submit(source: string, args: unknown[] = [], deps: number[] = []): Promise<Handle> {
    const fn = await this.define(source);
    const packed = await this.blobs.ask({ args, deps: deps.length });
    return this.hand(fn, packed, deps);
  }

  hand(fn: number, args: Uint8Array, deps: number[] = []): Handle {
    const tid = ++this.tid;
    const done = new Promise<Outcome>(resolve => this.waiting.set(tid, resolve));
    const began = new Promise<void>(resolve => this.beginnings.set(tid, resolve));
    const key = `key-${tid}`;
    this.pool.execute({ tid, runId: 1, key, fn, args, deps, announce: true, wanted: true });
    this.pool.flush();
    return { tid, done, began };
  }

  /** Hands a TypeScript task over, whose one argument is the value of a dependency. */
  async submitTypeScript(fn: (value: never) => unknown, dep: number): Promise<Handle> {
    const ref = new (class Ref {})();
    const captured = await captureFunction(fn, { reference: () => false });
    this.pool.addFunction(++this.fn, captured.name, captured.blob);
    const reference = (value: object): number | undefined => (value === ref ? 0 : undefined);
    return this.hand(this.fn, packFrames(serializeValue([ref], { reference })), [dep]);
  }

  /** Puts a value into the store. */
  put(value: unknown): number {
    const tid = ++this.tid;
    const { family, frames } = serializeValue(value);
    const nbytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    this.store.put(tid, { family, frames, nbytes, type: 'thing' });
    return tid;
  }

  async success(
    source: string,
    args: unknown[] = [],
    deps: number[] = []
  ): Promise<Success & Handle> {
    const handle = await this.submit(source, args, deps);
    const outcome = await handle.done;
    if (typeof outcome === 'string' || 'error' in outcome) {
      throw new Error(`no value: ${JSON.stringify(outcome)}`);
    }
    return { ...outcome, ...handle };
  }

  async fails(source: string, args: unknown[] = [], deps: number[] = []): Promise<ErrorRecord> {
    const outcome = await (await this.submit(source, args, deps)).done;
    if (typeof outcome === 'string' || !('error' in outcome)) {
      throw new Error(`it did not fail: ${JSON.stringify(outcome)}`);
    }
    return outcome.error;
  }

  /** The value of a task as TypeScript reads it. */
  async value(source: string, args: unknown[] = [], deps: number[] = []): Promise<unknown> {
    const { tid } = await this.success(source, args, deps);
    return deserializeValue(await this.stored(tid));
  }

  /** A value in the store, brought there if it was live. */
  async stored(tid: number): Promise<StoredValue> {
    await this.store.pin([tid]);
    const value = this.store.get(tid);
    if (value === undefined) throw new Error(`value ${tid} is not there`);
    return value;
  }

  /** Arguments as a client packs them. */
  pack(args: unknown[]): Promise<Uint8Array> {
    return this.blobs.ask({ args, deps: 0 });
  }

  async close(): Promise<void> {
    this.blobs.close();
    await this.pool.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface Handle {
  tid: number;
  done: Promise<Outcome>;
  began: Promise<void>;
}
