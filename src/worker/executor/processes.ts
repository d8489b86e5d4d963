/**
 * The Python processes of a pool: one for each slot, or one with as many threads. They start before
 * anything is run, because a worker's registration says which Python it has, and go over to the
 * pool that then runs tasks.
 */
import type { ProfileWish } from '../../protocol/profile.ts';
import type { PoolOptions } from './pool-options.ts';
import { PythonExecutor } from './python.ts';
import type { PythonOwner } from './python.ts';
import type { Failure, ThreadSetup } from './messages.ts';
import { noPython } from './languages.ts';
import type { ThreadStack } from './stacks.ts';

/** Part of the memory limit, or bytes without one, that files may take which nobody has now. */
const KEEP_SHARE = 0.05;
const KEEP_BYTES = 256 * 2 ** 20;

/** Whether its Python has come up: versions of it and of packages that values depend on, or why not. */
export type PythonStart = { packages: Record<string, string> } | { reason: string };

type ProcessOptions = Pick<
  PoolOptions,
  'nthreads' | 'memoryLimit' | 'root' | 'store' | 'context' | 'python'
> & {
  /** Tasks that one can be handed. */
  capacity: number;
  /** Bytes of copies of values that one may keep. */
  liveBytes: number;
  onMessage: PythonOwner['receive'];
  onResults: PythonOwner['onResults'];
  onDeath: PythonOwner['died'];
};

export class PythonProcesses implements PythonOwner {
  /** By lane. */
  readonly executors: PythonExecutor[] = [];
  readonly receive: PythonOwner['receive'];
  readonly onResults: PythonOwner['onResults'];
  readonly died: PythonOwner['died'];
  private readonly options: ProcessOptions;
  private answer: ((start: PythonStart) => void) | null = null;

  constructor(options: ProcessOptions) {
    this.options = options;
    this.receive = options.onMessage;
    this.onResults = options.onResults;
    this.died = options.onDeath;
  }

  /** Starts them; resolves when the first is up, or cannot come up. */
  start(): Promise<PythonStart> {
    const { python, nthreads } = this.options;
    if (python === undefined) return Promise.resolve({ reason: 'none is set' });
    return new Promise(resolve => {
      this.answer = resolve;
      const lanes = python.threads ? 1 : nthreads;
      for (let lane = 0; lane < lanes; lane++) this.replace(lane);
    });
  }

  /** Starts the one of a lane, in the place of one that has died. */
  replace(lane: number): void {
    const { python, capacity, liveBytes, nthreads, memoryLimit, root, store } = this.options;
    if (python === undefined) return;
    this.executors[lane] = new PythonExecutor({
      lane,
      capacity,
      setup: {
        ...python,
        threads: python.threads ? nthreads : 1,
        root,
        memoryLimit,
        liveBytes: Math.floor(liveBytes),
        keepBytes:
          memoryLimit === 0 ? KEEP_BYTES : Math.floor((KEEP_SHARE * memoryLimit) / nthreads),
        keepsLive: store.putLive !== undefined
      },
      owner: this
    });
  }

  /** Takes over the processes of a pool that has not run anything. */
  take(from: PythonProcesses): void {
    for (const one of from.executors.splice(0)) {
      one.owner = this;
      this.executors.push(one);
    }
  }

  /** They cannot start. False when nobody waits to hear of it. */
  giveUp(reason: string): boolean {
    if (this.answer === null) return false;
    for (const one of this.executors.splice(0)) void one.close();
    this.answer({ reason });
    return true;
  }

  /** Ids of the processes, and how many tasks each runs. */
  get processes(): { pid: number; running: number }[] {
    const all = this.executors.map(one => ({ pid: one.pid, running: one.running().length }));
    return all.filter(({ pid }) => pid > 0);
  }

  /** Memory is used up: the process that takes most of it has to go. */
  killForMemory(pid: number): void {
    this.executors.find(one => one.pid === pid)?.killForMemory();
  }

  /** Calls a function beside the tasks; packFrames of its result. */
  async run(blob: Uint8Array, args: Uint8Array): Promise<Uint8Array | Failure> {
    return (await this.executors[0]?.run(blob, args)) ?? noPython('run');
  }

  /** Stacks of what runs, by process and sequence number. */
  async stacks(timeoutMs: number): Promise<Map<unknown, Map<number, ThreadStack>>> {
    const looks = this.executors.map(
      async one => [one, await one.stacks(timeoutMs)] as [unknown, Map<number, ThreadStack>]
    );
    return new Map(await Promise.all(looks));
  }

  /** What the profilers of the processes have seen. */
  async profiles(wanted: ProfileWish, timeoutMs: number): Promise<Uint8Array[]> {
    const told = await Promise.all(this.executors.map(one => one.profile(wanted, timeoutMs)));
    return told.filter(tree => tree !== null);
  }

  context(): ThreadSetup['context'] {
    return this.options.context?.() ?? null;
  }

  onReady(packages: Record<string, string>): void {
    this.answer?.({ packages });
  }
}
