/**
 * The Python client of a chaos run: starts load.py, passes orders to it by lines, counts what it
 * tells, and judges the errors that its futures ended with, as `Load` does for its own: by the
 * graph and by the faults that this process has injected.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { sleep } from './load.ts';
import type { Setting } from './setting.ts';
import type { Tally } from './tally.ts';

/** How a Python task misbehaves. */
export type PythonKind = 'segfaults' | 'exits' | 'hogs' | 'endless' | 'holds';

interface Order {
  times?: number;
  /** How long it holds its interpreter, or may run. */
  seconds?: number;
  /** Seconds after which it is cancelled by force. */
  cancel?: number;
}

/** How a future ended, with the task to blame. */
interface ToldError {
  error: string;
  code: string;
  text: string;
  cancelled: boolean;
  kind: string | null;
  times: number;
  scattered: boolean;
  born: number;
}

interface Told extends Partial<ToldError> {
  started?: boolean;
  finished?: boolean;
  note?: string;
  tasks?: number;
  scattered?: never;
  refused?: string;
  wrong?: string;
  lose?: string;
  what?: string;
}

/** ms in which a task that takes too much memory may have others of its worker blamed. */
const HOG_MS = 30_000;

export class PythonLoad {
  private readonly setting: Setting;
  private readonly tally: Tally;
  private child: ChildProcess | null = null;
  private started = false;
  private finished = false;
  /** Errors that are being looked into. */
  private judging = 0;
  private ending = false;

  constructor(setting: Setting, tally: Tally) {
    this.setting = setting;
    this.tally = tally;
  }

  async start(python: string, seed: number): Promise<void> {
    const { setting } = this;
    const { address, token } = setting.cluster;
    const script = join(import.meta.dirname, 'load.py');
    const child = spawn(python, ['-u', script, address, setting.marks, String(seed)], {
      env: {
        ...process.env,
        PYTHONPATH: join(import.meta.dirname, '..', '..', 'python'),
        TASKLOOM_TOKEN: token
      },
      stdio: ['pipe', 'pipe', 'pipe']
    });
    this.child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => setting.keepLog('python', text));
    createInterface({ input: child.stdout }).on('line', line => {
      this.heard(JSON.parse(line) as Record<string, unknown>);
    });
    child.stdin.on('error', () => undefined);
    child.once('exit', (code, signal) => {
      if (!this.ending) this.tally.lose('python', `its client ended: ${signal ?? code}`);
    });
    for (let waited = 0; !this.started; waited += 100) {
      if (waited > 60_000 || child.exitCode !== null) throw new Error('load.py did not start');
      await sleep(100);
    }
  }

  /** Submits one task that misbehaves, as a fault. */
  misbehave(kind: PythonKind, { times = 1e9, seconds = 0, cancel }: Order): void {
    if (kind === 'hogs') this.setting.hogs.push(Date.now());
    this.tell({ misbehave: kind, times, seconds, cancel: cancel ?? null });
  }

  private tell(order: Record<string, unknown>): void {
    this.child?.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  private heard(told: Record<string, unknown>): void {
    const { tally } = this;
    const {
      started,
      finished,
      note,
      tasks,
      right,
      cancelled,
      retried,
      refused,
      wrong,
      lose,
      what
    } = told as Told & { right?: number; retried?: number };
    if (typeof told['error'] === 'string') {
      this.judging++;
      void this.judge(told as unknown as ToldError).finally(() => this.judging--);
      return;
    }
    if (started === true) this.started = true;
    if (finished === true) this.finished = true;
    if (note !== undefined) tally.note(`python: ${note}`);
    if (tasks !== undefined) tally.tasks += tasks;
    if (told['scattered'] === 1) tally.scattered++;
    if (right !== undefined) tally.right += right;
    if (cancelled !== undefined) tally.cancelled++;
    if (retried !== undefined) tally.retried++;
    if (refused !== undefined) tally.refused(refused);
    if (wrong !== undefined) tally.wrong(wrong, what ?? '');
    if (lose !== undefined) tally.lose(lose, what ?? '');
  }

  private async judge(told: ToldError): Promise<void> {
    let why = this.explanationOf(told);
    if (why === null) {
      await this.setting.look();
      why = this.explanationOf(told);
    }
    if (why !== null) return this.tally.explain(`python: ${why}`);
    this.tally.lose(told.error, `${told.code} (kind ${told.kind ?? 'unknown'}): ${told.text}`);
  }

  /** What of the graph or the faults explains an error, or null. */
  private explanationOf({
    code,
    cancelled,
    kind,
    times,
    scattered,
    born
  }: ToldError): string | null {
    const { setting } = this;
    const losses = setting.lossesSince(born);
    switch (code) {
      case 'RuntimeError':
        return kind === 'throws' || kind === 'flaky' ? 'the task throws' : null;
      case 'CANCELLED':
        return cancelled ? 'cancelled' : null;
      case 'KILLED_WORKER':
        if (kind === 'hogs' && times > 3) return 'the task kills its workers';
        return losses > 3 ? 'its workers were killed four times' : null;
      case 'LOST_DATA':
        // It may have been live in an executor, or be a worker's.
        return scattered && losses > 0 ? 'scattered data died with its worker' : null;
      case 'TASK_TIMEOUT':
        return kind === 'endless' ? 'the task passed its timeout' : null;
      case 'WORKER_MEMORY':
        if (kind === 'hogs') return 'the task needs too much memory';
        return setting.hogs.some(time => time > born - HOG_MS)
          ? 'another task took the memory of its worker'
          : null;
      case 'EXECUTOR_DIED':
        if (kind === 'segfaults' || kind === 'exits') return 'the task ends its executor';
        return setting.executorKills.some(time => time >= born) ? 'its executor was killed' : null;
      default:
        return null;
    }
  }

  /** Submits nothing any more; waits until all has ended. */
  async finish(limitMs: number): Promise<void> {
    this.tell({ finish: limitMs / 1000 });
    const end = Date.now() + limitMs + 20_000;
    while ((!this.finished || this.judging > 0) && this.child?.exitCode === null) {
      if (Date.now() > end) return this.tally.lose('python', 'its client does not come to an end');
      await sleep(100);
    }
  }

  async close(): Promise<void> {
    const { child } = this;
    this.ending = true;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.stdin?.end();
    await Promise.race([ended, sleep(10_000)]);
    child.kill('SIGKILL');
  }
}
