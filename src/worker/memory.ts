/**
 * A worker's memory manager: its store, readings of what the process uses, collections of garbage,
 * and what of it the worker and its scheduler are told.
 */
import type { MemorySettings } from './state/memory-events.ts';
import { MEMORY_DEFAULTS } from './state/memory-events.ts';
import { STREAM_KINDS } from '../protocol/feed.ts';
import type { StartStops } from '../protocol/messages.ts';
import { GarbageCollector } from './garbage.ts';
import type { DataLost, Pause, Unpause } from './state/events.ts';
import { LiveStore } from './store/live.ts';
import { MemoryStore } from './store.ts';
import type { ValueStore } from './store.ts';
import { ProcessFolder } from '../config/folder.ts';
import { SpillingStore } from './store/spilling.ts';
import type { DiskCounters } from './store/spilling.ts';

/** ms between readings of the process's memory. */
const READING_MS = 100;
/** Reads and writes that take fewer ms are not shown in the task stream. */
const SHOWN_MS = 5;
const DISK = STREAM_KINDS.indexOf('disk');

export interface WorkerMemoryOptions {
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  /** Parts of the limit, 0 = off; what is not given is Dask's default. */
  settings?: Partial<Omit<MemorySettings, 'memoryLimit'>> | undefined;
  /** Where files go; '' = a temporary folder of the system. */
  localDirectory?: string | undefined;
  onEvent(event: Pause | Unpause | DataLost): void;
  /** Executors should let go of their copies of these. */
  onEvicted(tids: number[]): void;
  /**
   * Memory of executors that are processes of their own, and of so many bytes in files that they
   * may have mapped.
   */
  executorBytes(sharedBytes: number): number;
  /** At every reading: all together use so many bytes. */
  onUsed(bytes: number): void;
  /** Executors should collect garbage. */
  onCollect(): void;
  onLog(level: 'info' | 'warn', text: string): void;
  /** Bars for the task stream. */
  onDisk(message: StartStops): void;
}

export class WorkerMemory {
  readonly store: LiveStore;
  private readonly options: WorkerMemoryOptions;
  private readonly spilling: SpillingStore | null;
  private readonly garbage = new GarbageCollector();
  private spillBytes = 0;
  private timer: ReturnType<typeof setInterval> | null = null;

  constructor(options: WorkerMemoryOptions) {
    this.options = options;
    const { memoryLimit } = options;
    const settings = { ...MEMORY_DEFAULTS, ...options.settings, memoryLimit };
    const { target, spill, pause } = settings;
    if (memoryLimit === 0 || target + spill + pause === 0) {
      this.store = this.liveStore(new MemoryStore(), 0);
      this.spilling = null;
      return;
    }
    const folder = new ProcessFolder('worker', options.localDirectory ?? '');
    this.spilling = this.spillingStore(settings, folder);
    this.store = this.liveStore(this.spilling, target * memoryLimit);
    this.spillBytes = spill * memoryLimit;
    if (target + spill > 0 && folder.inMemory) {
      const where = `Values would be spilled to ${folder}, which is itself in memory`;
      options.onLog('warn', `${where}. Choose a folder on a disk with localDirectory.`);
    }
  }

  private liveStore(inner: ValueStore, target: number): LiveStore {
    const onLost = (tids: number[]): void => this.options.onEvent({ op: 'data-lost', tids });
    return new LiveStore(inner, { target, onLost });
  }

  private spillingStore(settings: MemorySettings, folder: ProcessFolder): SpillingStore {
    const { options } = this;
    return new SpillingStore({
      settings,
      folder,
      events: {
        onPause: reason => options.onEvent({ op: 'pause', reason }),
        onUnpause: () => options.onEvent({ op: 'unpause' }),
        onLost: tids => options.onEvent({ op: 'data-lost', tids }),
        onEvicted: tids => options.onEvicted(tids),
        onCollect: () => {
          this.garbage.collect();
          options.onCollect();
        },
        onLog: (level, text) => options.onLog(level, text),
        onDisk: (tid, start, duration) => this.showDisk(tid, start, duration)
      }
    });
  }

  /** What this process and its executors use now. */
  get usedBytes(): number {
    const { sharedBytes } = this.spilling ?? { sharedBytes: 0 };
    return process.memoryUsage.rss() + this.options.executorBytes(sharedBytes);
  }

  /** Begins to read what the process uses. */
  watch(): void {
    const { spilling } = this;
    if (spilling === null || this.timer !== null) return;
    this.timer = setInterval(() => {
      const used = this.usedBytes;
      spilling.measured(used);
      this.options.onUsed(used);
      if (this.spillBytes > 0 && used > this.spillBytes) {
        this.store.relieve(used - this.spillBytes);
      }
    }, READING_MS);
  }

  /** Why values that should be on disk are not, or ''. */
  get trouble(): string {
    const { trouble } = this.spilling ?? { trouble: '' };
    return trouble === '' ? '' : `it cannot spill: ${trouble}`;
  }

  /** Bytes of files, and what was written and read. */
  get disk(): DiskCounters & { fileBytes: number } {
    const none = { written: 0, read: 0, filesWritten: 0, filesRead: 0 };
    return { fileBytes: this.spilling?.fileBytes ?? 0, ...(this.spilling?.counters ?? none) };
  }

  async close(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    await this.spilling?.close();
  }

  private showDisk(tid: number, start: number, duration: number): void {
    if (duration < SHOWN_MS) return;
    this.options.onDisk({
      op: 'start-stops',
      tids: [tid],
      lanes: [0],
      kinds: [DISK],
      starts: [start],
      durations: [duration]
    });
  }
}
