/**
 * A worker's store around the real memory state, as src/worker/store/spilling.ts is, on a simulated
 * disk that may be slow, full or unreadable. Values are copied to files and back, so that a wrong
 * file shows as a wrong value.
 */
import { MemoryState } from '../../src/worker/state/memory.ts';
import type { MemoryEvent, MemoryInstruction } from '../../src/worker/state/memory-events.ts';
import type { Plan } from './plan.ts';
import type { World } from './world.ts';

export interface Stored {
  value: number;
  nbytes: number;
}

/** What happens in the store, for its worker. */
export interface StoreEvents {
  pause(reason: string): void;
  unpause(): void;
  lost(tid: number): void;
}

interface Job {
  op: 'spill' | 'read';
  tid: number;
  file: number;
  value: Stored | undefined;
}

const MOST_JOBS = 4;
/** The memory state's own limit: smaller values stay. */
const SMALLEST = 1024;
const TARGET = 0.6;
/** Bytes a ms of a disk that is well. */
const DISK_SPEED = 200_000;

export class SimStore {
  /** Where all this is written; grows and shrinks with the files. */
  readonly disk = new Map<number, Stored>();
  private readonly world: World;
  private readonly plan: Plan;
  private readonly events: StoreEvents;
  private readonly memory: MemoryState | null;
  /** Every value that is held, wherever it is. */
  private readonly held = new Map<number, Stored>();
  private readonly inMemory = new Map<number, Stored>();
  private readonly arrived = new Map<number, Stored>();
  private readonly pins = new Map<number, number>();
  private readonly waiting = new Map<number, (() => void)[]>();
  private readonly reads: Job[] = [];
  private readonly writes: Job[] = [];
  private running = 0;
  private closed = false;

  constructor(world: World, plan: Plan, events: StoreEvents) {
    this.world = world;
    this.plan = plan;
    this.events = events;
    const { memoryLimit, maxSpill } = plan;
    this.memory = memoryLimit === 0 ? null : new MemoryState({ memoryLimit, maxSpill });
  }

  get size(): number {
    return this.held.size;
  }
  /** What a process uses that holds these values. */
  get memoryBytes(): number {
    return this.memory?.memoryBytes ?? 0;
  }

  tids(): number[] {
    return [...this.held.keys()];
  }
  has(tid: number): boolean {
    return this.held.has(tid);
  }
  /** The value, wherever it is; for checkers and for sizes. */
  peek(tid: number): Stored | undefined {
    return this.held.get(tid);
  }
  /** The value when it is in memory. */
  get(tid: number): Stored | undefined {
    return this.inMemory.get(tid);
  }

  put(tid: number, stored: Stored): void {
    this.held.set(tid, stored);
    this.inMemory.set(tid, stored);
    this.pins.delete(tid);
    this.tell({ op: 'put', tid, nbytes: stored.nbytes });
    this.wake(tid);
  }

  delete(tid: number): void {
    if (!this.held.delete(tid)) return;
    this.inMemory.delete(tid);
    this.pins.delete(tid);
    this.tell({ op: 'drop', tids: [tid] });
    this.wake(tid);
  }

  /** Calls back when they are in memory (or gone); true when they are there now. */
  pin(tids: readonly number[], arrived: () => void): boolean {
    for (const tid of tids) {
      if (this.held.has(tid)) this.pins.set(tid, (this.pins.get(tid) ?? 0) + 1);
    }
    this.tell({ op: 'pin', tids });
    const coming = tids.filter(tid => this.memory?.placeOf(tid) === 'moving');
    if (coming.length === 0) return true;
    let left = coming.length;
    const one = (): void => {
      if (--left === 0) arrived();
    };
    for (const tid of coming) this.waiting.set(tid, [...(this.waiting.get(tid) ?? []), one]);
    return false;
  }

  unpin(tids: readonly number[]): void {
    for (const tid of tids) {
      const left = (this.pins.get(tid) ?? 0) - 1;
      if (left > 0) this.pins.set(tid, left);
      else this.pins.delete(tid);
    }
    this.tell({ op: 'unpin', tids });
  }

  /** Resident bytes of the process. */
  measured(rss: number): void {
    this.tell({ op: 'measured', rss });
  }

  /** Whoever waits for a file waits no more. */
  close(): void {
    this.closed = true;
    for (const tid of [...this.waiting.keys()]) this.wake(tid);
  }

  // ---------------------------------------------------------------- the state

  private tell(event: MemoryEvent): void {
    if (this.memory === null || this.closed) return;
    const instructions = this.memory.handle(event, this.world.now);
    for (const instruction of instructions) this.carryOut(instruction);
    this.memory.validate();
    this.checkLimit(this.memory);
  }

  /** What could leave has left, or is being written: target is kept. */
  private checkLimit(memory: MemoryState): void {
    if (memory.trouble !== '' || this.plan.maxSpill > 0) return;
    let free = 0;
    for (const [tid, { nbytes }] of this.inMemory) {
      if (!this.pins.has(tid) && nbytes >= SMALLEST) free += nbytes;
    }
    const most = this.plan.memoryLimit * TARGET;
    if (free - memory.leavingBytes > most) {
      throw new Error(`${free} bytes are in memory and could leave, ${most} may stay`);
    }
  }

  private carryOut(instruction: MemoryInstruction): void {
    switch (instruction.op) {
      case 'spill':
      case 'read': {
        const { op, tid, file } = instruction;
        (op === 'read' ? this.reads : this.writes).push({
          op,
          tid,
          file,
          value: this.inMemory.get(tid)
        });
        return this.startJobs();
      }
      case 'keep': {
        const value = this.arrived.get(instruction.file);
        if (value !== undefined) this.inMemory.set(instruction.tid, value);
        return this.wake(instruction.tid);
      }
      case 'evict':
        this.inMemory.delete(instruction.tid);
        return;
      case 'lost':
        this.held.delete(instruction.tid);
        this.pins.delete(instruction.tid);
        this.events.lost(instruction.tid);
        // Whoever waits for it goes on in a later turn.
        return this.wake(instruction.tid);
      case 'delete':
        this.disk.delete(instruction.file);
        return;
      case 'pause':
        return this.events.pause(instruction.reason);
      case 'unpause':
        return this.events.unpause();
      case 'collect-garbage':
      case 'log':
        return;
    }
  }

  private wake(tid: number): void {
    const waiting = this.waiting.get(tid);
    this.waiting.delete(tid);
    for (const arrived of waiting ?? []) arrived();
  }

  // ---------------------------------------------------------------- files

  private startJobs(): void {
    while (this.running < MOST_JOBS) {
      const job = this.reads.shift() ?? this.writes.shift();
      if (job === undefined) return;
      this.running++;
      const bytes = this.held.get(job.tid)?.nbytes ?? 0;
      const takes = (this.world.soon(2) + bytes / DISK_SPEED) * this.plan.diskSlowness;
      this.world.after(takes, () => {
        this.running--;
        if (this.closed) return;
        this.tell(job.op === 'read' ? this.read(job) : this.write(job));
        this.arrived.delete(job.file);
        this.startJobs();
      });
    }
  }

  private read({ file }: Job): MemoryEvent {
    const { world, plan } = this;
    const value = this.disk.get(file);
    if (value === undefined) throw new Error(`file ${file} is read and is not there`);
    if (world.faulty && world.rng.chance(plan.diskErrors)) {
      world.note('*', 'FAULT a file cannot be read');
      return { op: 'read-failed', file, text: 'EIO' };
    }
    this.arrived.set(file, value);
    return { op: 'read-done', file };
  }

  private write({ file, tid, value }: Job): MemoryEvent {
    if (value === undefined || this.inMemory.get(tid) !== value) {
      return { op: 'spill-failed', file, full: false, text: '' };
    }
    let used = 0;
    for (const { nbytes } of this.disk.values()) used += nbytes;
    const { diskBytes } = this.plan;
    if (diskBytes > 0 && used + value.nbytes > diskBytes) {
      return { op: 'spill-failed', file, full: true, text: 'no space is left' };
    }
    this.disk.set(file, { ...value });
    return { op: 'spill-done', file, nbytes: value.nbytes };
  }
}
