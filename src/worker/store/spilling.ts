/**
 * The store of a worker with a memory limit: carries out what the memory state asks for. Files are
 * written and read a few at a time, never in the way of the control thread; whoever needs a value
 * that is on disk pins it and waits.
 *
 * Memory is given back at once, not when garbage is collected: frames that leave are detached from
 * their buffers. So nobody may hold frames beyond the turn but who pinned or borrowed them.
 */
import { rm } from 'node:fs/promises';
import { MemoryState, SMALLEST } from '../state/memory.ts';
import type { MemoryEvent, MemoryInstruction, MemorySettings } from '../state/memory-events.ts';
import type { StoredValue, ValueStore } from '../store.ts';
import { readValue, writeValue } from './files.ts';
import type { ProcessFolder } from '../../config/folder.ts';

/** What happens in the store, for the worker. */
export interface SpillingEvents {
  onPause(reason: string): void;
  onUnpause(): void;
  /** Held no more: their files could not be read. */
  onLost(tids: number[]): void;
  /** They have left memory: copies elsewhere should, too. */
  onEvicted(tids: number[]): void;
  onCollect(): void;
  onLog(level: 'info' | 'warn', text: string): void;
  /** A file was written or read; start in ms since the epoch. */
  onDisk(tid: number, start: number, duration: number): void;
}

export interface SpillingOptions {
  settings: MemorySettings;
  folder: ProcessFolder;
  events: SpillingEvents;
}

/** Bytes and files since the start. */
export interface DiskCounters {
  written: number;
  read: number;
  filesWritten: number;
  filesRead: number;
}

interface Job {
  op: 'spill' | 'read';
  tid: number;
  file: number;
  /** What is to be written. */
  value: StoredValue | null;
}

/** Files under way at once. */
const MOST_JOBS = 4;
/** Smaller buffers are left to the garbage collector. */
const DETACH_FROM = 16 * 1024;
/** What systems say when a disk, or a user's part of it, is full. */
const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export class SpillingStore implements ValueStore {
  readonly counters: DiskCounters = { written: 0, read: 0, filesWritten: 0, filesRead: 0 };
  private readonly state: MemoryState;
  private readonly folder: ProcessFolder;
  private readonly events: SpillingEvents;
  private readonly values = new Map<number, StoredValue>();
  /** Those that are too small to be spilled: the state would have nothing to decide. */
  private readonly small = new Map<number, StoredValue>();
  private smallBytes = 0;
  /** Bytes of values that lie in files in memory: no process need have them as its own. */
  sharedBytes = 0;
  /** Read, and not yet said to be wanted. */
  private readonly arrived = new Map<number, StoredValue>();
  private readonly waiting = new Map<number, (() => void)[]>();
  private readonly lent = new Map<StoredValue, number>();
  private leavers: StoredValue[] = [];
  private readonly reads: Job[] = [];
  private readonly writes: Job[] = [];
  private readonly running = new Set<Promise<void>>();
  private closed = false;

  constructor(options: SpillingOptions) {
    this.state = new MemoryState(options.settings);
    this.folder = options.folder;
    this.events = options.events;
  }

  get nbytes(): number {
    return this.state.memoryBytes + this.state.spilledBytes + this.smallBytes;
  }

  get spilled(): number {
    return this.state.spilledBytes;
  }

  get leaving(): number {
    return this.state.leavingBytes;
  }

  get size(): number {
    return this.state.size + this.small.size;
  }

  /** Bytes of files. */
  get fileBytes(): number {
    return this.state.fileBytes;
  }

  /** Why values that should be on disk are not, or ''. */
  get trouble(): string {
    return this.state.trouble;
  }

  has(tid: number): boolean {
    return this.small.has(tid) || this.state.placeOf(tid) !== 'none';
  }

  sizeOf(tid: number): number {
    return this.small.get(tid)?.nbytes ?? this.state.sizeOf(tid);
  }

  get(tid: number): StoredValue | undefined {
    return this.small.get(tid) ?? this.values.get(tid);
  }

  put(tid: number, value: StoredValue): void {
    const small = value.nbytes < SMALLEST;
    if (this.small.has(tid) || (small && this.has(tid))) this.delete(tid);
    if (small) {
      this.small.set(tid, value);
      this.smallBytes += value.nbytes;
      return;
    }
    this.letGo(tid);
    this.values.set(tid, value);
    this.sharedBytes += value.fileBytes ?? 0;
    this.tell({ op: 'put', tid, nbytes: value.nbytes });
    this.wake(tid);
  }

  delete(tid: number): boolean {
    const small = this.small.get(tid);
    if (small !== undefined) {
      this.smallBytes -= small.nbytes;
      return this.small.delete(tid);
    }
    if (!this.has(tid)) return false;
    this.letGo(tid);
    this.tell({ op: 'drop', tids: [tid] });
    this.wake(tid);
    return true;
  }

  pin(all: readonly number[]): Promise<void> | null {
    const tids = this.large(all);
    if (tids.length === 0) return null;
    this.tell({ op: 'pin', tids });
    const coming = tids.filter(tid => this.state.placeOf(tid) === 'moving');
    if (coming.length === 0) return null;
    return new Promise(resolve => {
      let left = coming.length;
      const arrived = (): void => {
        if (--left === 0) resolve();
      };
      for (const tid of coming) {
        const others = this.waiting.get(tid);
        if (others === undefined) this.waiting.set(tid, [arrived]);
        else others.push(arrived);
      }
    });
  }

  unpin(all: readonly number[]): void {
    const tids = this.large(all);
    if (tids.length > 0) this.tell({ op: 'unpin', tids });
  }

  private large(tids: readonly number[]): readonly number[] {
    return this.small.size === 0 ? tids : tids.filter(tid => !this.small.has(tid));
  }

  lend(tid: number): StoredValue | undefined {
    const value = this.get(tid);
    if (value !== undefined) this.lent.set(value, (this.lent.get(value) ?? 0) + 1);
    return value;
  }

  giveBack(value: StoredValue): void {
    const left = (this.lent.get(value) ?? 0) - 1;
    if (left > 0) this.lent.set(value, left);
    else this.lent.delete(value);
  }

  /** Resident bytes of the process now. */
  measured(rss: number): void {
    this.tell({ op: 'measured', rss });
  }

  /** Ends with no file left; values are gone. */
  async close(): Promise<void> {
    this.closed = true;
    this.reads.length = 0;
    this.writes.length = 0;
    await Promise.all(this.running);
    this.folder.remove();
  }

  // ---------------------------------------------------------------- the state

  private tell(event: MemoryEvent): void {
    for (const instruction of this.state.handle(event, Date.now())) this.carryOut(instruction);
  }

  private carryOut(instruction: MemoryInstruction): void {
    const { events } = this;
    switch (instruction.op) {
      case 'spill': {
        const value = this.values.get(instruction.tid) ?? null;
        return this.queue(this.writes, { ...instruction, value });
      }
      case 'read':
        return this.queue(this.reads, { ...instruction, value: null });
      case 'keep': {
        const value = this.arrived.get(instruction.file);
        if (value !== undefined) this.values.set(instruction.tid, value);
        return this.wake(instruction.tid);
      }
      case 'evict':
        this.letGo(instruction.tid);
        return events.onEvicted([instruction.tid]);
      case 'lost':
        this.wake(instruction.tid);
        return events.onLost([instruction.tid]);
      case 'delete':
        void rm(this.path(instruction.file), { force: true }).catch(() => undefined);
        return;
      case 'collect-garbage':
        return events.onCollect();
      case 'pause':
        return events.onPause(instruction.reason);
      case 'unpause':
        return events.onUnpause();
      case 'log':
        return events.onLog(instruction.level, instruction.text);
    }
  }

  private path(file: number): string {
    return this.folder.file(`${file}.value`);
  }

  private wake(tid: number): void {
    const waiting = this.waiting.get(tid);
    if (waiting === undefined) return;
    this.waiting.delete(tid);
    for (const arrived of waiting) arrived();
  }

  // ---------------------------------------------------------------- memory

  private letGo(tid: number): void {
    const value = this.values.get(tid);
    if (value === undefined) return;
    this.values.delete(tid);
    this.sharedBytes -= value.fileBytes ?? 0;
    // Whoever reads its files has them open, and executors have names of their own.
    value.discard?.();
    if (value.discard !== undefined || value.nbytes < DETACH_FROM) return;
    this.leavers.push(value);
    if (this.leavers.length > 1) return;
    // What executors were handed in this turn is copied in the next, before the one after that.
    setImmediate(() => setImmediate(() => this.detach()));
  }

  private detach(): void {
    const leavers = this.leavers;
    this.leavers = [];
    for (const value of leavers) {
      // Left to the garbage collector: somebody reads it still.
      if (this.lent.has(value)) continue;
      for (const { buffer, byteLength } of value.frames) {
        if (byteLength < DETACH_FROM || byteLength !== buffer.byteLength) continue;
        (buffer as ArrayBuffer & { transfer(size: number): ArrayBuffer }).transfer(0);
      }
    }
  }

  // ---------------------------------------------------------------- files

  private queue(jobs: Job[], job: Job): void {
    jobs.push(job);
    this.startJobs();
  }

  private startJobs(): void {
    while (!this.closed && this.running.size < MOST_JOBS) {
      const job = this.reads.shift() ?? this.writes.shift();
      if (job === undefined) return;
      const running: Promise<void> = this.run(job).then(event => {
        this.running.delete(running);
        if (this.closed) return;
        this.tell(event);
        this.arrived.delete(job.file);
        this.startJobs();
      });
      this.running.add(running);
    }
  }

  private async run(job: Job): Promise<MemoryEvent> {
    const start = Date.now();
    const began = performance.now();
    const event = await (job.op === 'read' ? this.read(job) : this.write(job));
    if (event.op === 'read-done' || event.op === 'spill-done') {
      this.events.onDisk(job.tid, start, performance.now() - began);
    }
    return event;
  }

  private async read({ file }: Job): Promise<MemoryEvent> {
    try {
      const value = await readValue(this.path(file));
      this.counters.read += value.nbytes;
      this.counters.filesRead++;
      this.arrived.set(file, value);
      return { op: 'read-done', file };
    } catch (error) {
      return { op: 'read-failed', file, text: textOf(error) };
    }
  }

  private async write({ file, tid, value }: Job): Promise<MemoryEvent> {
    // Dropped while it waited.
    if (value === null || this.values.get(tid) !== value) {
      return { op: 'spill-failed', file, full: false, text: '' };
    }
    this.lend(tid);
    try {
      const nbytes = await writeValue(this.path(file), value);
      this.counters.written += nbytes;
      this.counters.filesWritten++;
      return { op: 'spill-done', file, nbytes };
    } catch (error) {
      await this.removeRest(file);
      const full = FULL.has((error as NodeJS.ErrnoException).code ?? '');
      const text = full ? `no space is left in ${this.folder}` : textOf(error);
      return { op: 'spill-failed', file, full, text };
    } finally {
      this.giveBack(value);
    }
  }

  private async removeRest(file: number): Promise<void> {
    try {
      await rm(this.path(file), { force: true });
    } catch {
      // The folder itself cannot be made: there is nothing to remove.
    }
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
