/**
 * Which of a worker's values are in memory and which on disk, and when the worker pauses: events
 * in, instructions out, as in the rest of this room. Knows neither clock nor file; `now` comes
 * with the event.
 *
 * - target: after each event the managed bytes in memory (without what is being written) are at
 *   most this part of the limit; the least recently used go to disk. A value that is larger than
 *   that alone goes at once.
 * - spill: when the process passes this part of the limit, values go to disk until it is below
 *   target. A first reading beyond it asks for a garbage collection only. Between readings, values
 *   that come and would take it beyond drive others out.
 * - pause: beyond this part of the limit the worker pauses, until it is below again.
 *
 * A value that is pinned (an input of a running task, being sent) stays in memory, and is read
 * back when it is on disk. Its file is kept as long as the value, so that it can leave memory
 * again for nothing; when disk is short such files go first. When the disk is full or `maxSpill`
 * reached, values stay in memory and it is tried again later.
 */
import { formatBytes } from '../../base/bytes.ts';
import { Held, Recency } from './held.ts';
import { MEMORY_DEFAULTS } from './memory-events.ts';
import type { MemoryEvent, MemoryInstruction, MemorySettings } from './memory-events.ts';

/** Smaller values take more to keep track of than they give back. */
export const SMALLEST = 1024;
/** ms after which a disk that was full is tried again. */
const RETRY_MS = 10_000;
/** ms of that when a file has been deleted meanwhile. */
const ROOM_MS = 1000;
/** ms between collections that are asked for: while values come and go, and while none does. */
const COLLECT_MS = 100;
const COLLECT_IDLE_MS = 1000;
/** ms between lines of the log about pauses. */
const PAUSE_LOG_MS = 10_000;

const NOTHING: readonly MemoryInstruction[] = [];

/** The memory of one worker. */
export class MemoryState {
  private readonly settings: MemorySettings;
  private readonly held = new Map<number, Held>();
  /** What files are being written or read for; the value may have been dropped meanwhile. */
  private readonly busy = new Map<number, Held>();
  /** Values in memory that can be evicted, the least recently used first. */
  private readonly recency = new Recency();
  private out: MemoryInstruction[] = [];
  private nextFile = 1;
  private memory = 0;
  private onDisk = 0;
  private reading = 0;
  private writing = 0;
  /** Of those being written, what nobody has pinned. */
  private leaving = 0;
  private files = 0;
  /** Values in `recency` that have a file. */
  private clean = 0;
  /** The last reading of the process, and what was in memory then. */
  private rss = 0;
  private memoryAtReading = 0;
  private spilling = false;
  private isPaused = false;
  private lastCollect = Number.NEGATIVE_INFINITY;
  private lastPauseLog = Number.NEGATIVE_INFINITY;
  private pauseLogged = false;
  /** Values have come, gone or been used since the last collection. */
  private stirred = false;
  /** When a disk was last found full, and ms to wait from then on. */
  private blockedAt = Number.NEGATIVE_INFINITY;
  private blockedFor = 0;
  private blockedBy = '';
  private now = 0;

  constructor(settings: Partial<MemorySettings> & { memoryLimit: number }) {
    this.settings = { ...MEMORY_DEFAULTS, ...settings };
  }

  handle(event: MemoryEvent, now: number): readonly MemoryInstruction[] {
    this.now = now;
    if (event.op !== 'measured') this.stirred = true;
    this.dispatch(event);
    this.keepTarget();
    this.foresee();
    if (this.out.length === 0) return NOTHING;
    const { out } = this;
    this.out = [];
    return out;
  }

  /** Bytes of values in memory. */
  get memoryBytes(): number {
    return this.memory;
  }

  /** Bytes of values that are on disk only. */
  get spilledBytes(): number {
    return this.onDisk;
  }

  /** Bytes of all files. */
  get fileBytes(): number {
    return this.files;
  }

  /** Bytes of values that are being written so that they can leave. */
  get leavingBytes(): number {
    return this.leaving;
  }

  /** How many values there are, wherever. */
  get size(): number {
    return this.held.size;
  }

  /** Bytes of a value; 0 when it is not held. */
  sizeOf(tid: number): number {
    return this.held.get(tid)?.nbytes ?? 0;
  }

  get paused(): boolean {
    return this.isPaused;
  }

  /** Why values that should be on disk are not, or ''. */
  get trouble(): string {
    return this.blockedBy;
  }

  /** `none`: not held here; `moving`: being read back. */
  placeOf(tid: number): 'memory' | 'disk' | 'moving' | 'none' {
    const held = this.held.get(tid);
    if (held === undefined) return 'none';
    if (held.inMemory) return 'memory';
    return held.busy === 'read' ? 'moving' : 'disk';
  }

  private dispatch(event: MemoryEvent): void {
    switch (event.op) {
      case 'put':
        return this.put(event.tid, event.nbytes);
      case 'pin':
        for (const tid of event.tids) this.pin(tid);
        return;
      case 'unpin':
        for (const tid of event.tids) this.unpin(tid);
        return;
      case 'drop':
        for (const tid of event.tids) this.drop(tid);
        return;
      case 'measured':
        return this.measured(event.rss);
      case 'spill-done':
        return this.spillDone(event.file, event.nbytes);
      case 'spill-failed':
        return this.spillFailed(event.file, event.full, event.text);
      case 'read-done':
        return this.readDone(event.file);
      case 'read-failed':
        return this.readFailed(event.file, event.text);
    }
  }

  // ---------------------------------------------------------------- values

  private put(tid: number, nbytes: number): void {
    const before = this.held.get(tid);
    const pins = before?.pins ?? 0;
    if (before !== undefined) this.drop(tid);
    const held = new Held(tid, nbytes);
    held.pins = pins;
    this.held.set(tid, held);
    this.memory += nbytes;
    if (pins > 0) return;
    const target = this.bytesAt(this.settings.target);
    if (target > 0 && nbytes >= target) this.write(held);
    else this.settle(held);
  }

  private pin(tid: number): void {
    const held = this.held.get(tid);
    if (held === undefined) return;
    if (held.pins++ > 0) return;
    this.withdraw(held);
    if (held.busy === 'write') this.leaving -= held.nbytes;
    if (held.inMemory || held.busy === 'read') return;
    held.busy = 'read';
    this.busy.set(held.file, held);
    this.reading += held.nbytes;
    this.out.push({ op: 'read', tid, file: held.file });
  }

  private unpin(tid: number): void {
    const held = this.held.get(tid);
    if (held === undefined || held.pins === 0 || --held.pins > 0) return;
    if (held.busy === 'write') this.leaving += held.nbytes;
    else this.settle(held);
  }

  private drop(tid: number): void {
    const held = this.held.get(tid);
    if (held === undefined) return;
    this.held.delete(tid);
    this.withdraw(held);
    if (held.inMemory) this.memory -= held.nbytes;
    else this.onDisk -= held.nbytes;
    if (held.busy === 'write' && held.pins === 0) this.leaving -= held.nbytes;
    held.dropped = true;
    // The file of one that is busy is deleted when that has ended.
    if (held.busy === 'no') this.deleteFile(held);
  }

  /** In memory, not pinned and not busy: can be evicted, as the one used last. */
  private settle(held: Held): void {
    if (!held.inMemory || held.nbytes < SMALLEST || held.busy !== 'no' || held.pins > 0) return;
    this.recency.add(held);
    if (held.file > 0) this.clean++;
  }

  private withdraw(held: Held): void {
    if (this.recency.remove(held) && held.file > 0) this.clean--;
  }

  private deleteFile(held: Held): void {
    if (held.file === 0) return;
    this.files -= held.fileBytes;
    this.out.push({ op: 'delete', file: held.file });
    held.file = 0;
    held.fileBytes = 0;
    // Room for another.
    if (this.blockedBy !== '') this.blockedFor = ROOM_MS;
  }

  // ---------------------------------------------------------------- to disk and back

  private bytesAt(part: number): number {
    return part * this.settings.memoryLimit;
  }

  private keepTarget(): void {
    const target = this.bytesAt(this.settings.target);
    if (target <= 0) return;
    const excess = this.memory + this.reading - this.leaving - target;
    if (excess > 0) this.evict(excess);
  }

  /** Values that have come since the last reading count before the next one shows them. */
  private foresee(): void {
    const spill = this.bytesAt(this.settings.spill);
    if (spill <= 0 || this.rss === 0) return;
    const come = this.memory + this.reading - this.memoryAtReading;
    if (come <= 0) return;
    const excess = this.rss + come - this.leaving - spill;
    if (excess > 0) this.evict(Math.min(excess, come));
  }

  /** Lets go of this many bytes, or of as many as can be let go of. */
  private evict(bytes: number): void {
    let left = bytes;
    let next: Held | null;
    for (let held = this.recency.oldest; held !== null && left > 0; held = next) {
      next = held.newer;
      if (held.file > 0) {
        this.withdraw(held);
        this.letGo(held);
      } else if (this.blocked(held)) {
        // Only those that have a file can go.
        if (this.clean === 0) return;
        continue;
      } else {
        this.write(held);
      }
      left -= held.nbytes;
    }
  }

  private blocked(held: Held): boolean {
    const { maxSpill } = this.settings;
    if (this.isWithin(this.blockedAt, this.blockedFor)) return true;
    if (maxSpill === 0 || this.files + this.writing + held.nbytes <= maxSpill) return false;
    this.freeFiles(held.nbytes);
    if (this.files + this.writing + held.nbytes <= maxSpill) return false;
    this.block(`its files have reached the limit of ${formatBytes(maxSpill)} (maxSpill)`);
    return true;
  }

  /** Deletes files of values that are in memory too, until so many bytes are free. */
  private freeFiles(bytes: number): void {
    let left = bytes;
    for (let held = this.recency.oldest; held !== null && left > 0; held = held.newer) {
      if (held.file === 0) continue;
      this.clean--;
      left -= held.fileBytes;
      this.deleteFile(held);
    }
  }

  private block(text: string): void {
    this.blockedAt = this.now;
    this.blockedFor = RETRY_MS;
    if (this.blockedBy !== '') return;
    this.blockedBy = text;
    this.log('warn', `Values stay in memory that should go to disk: ${text}. It is tried again.`);
  }

  private write(held: Held): void {
    this.withdraw(held);
    const file = this.nextFile++;
    held.busy = 'write';
    this.busy.set(file, held);
    this.writing += held.nbytes;
    this.leaving += held.nbytes;
    this.out.push({ op: 'spill', tid: held.tid, file });
  }

  private letGo(held: Held): void {
    held.inMemory = false;
    this.memory -= held.nbytes;
    this.onDisk += held.nbytes;
    this.out.push({ op: 'evict', tid: held.tid });
  }

  /** The write has ended; null when it was not ours. */
  private endWrite(file: number): Held | null {
    const held = this.busy.get(file);
    if (held?.busy !== 'write') return null;
    this.busy.delete(file);
    held.busy = 'no';
    this.writing -= held.nbytes;
    if (!held.dropped && held.pins === 0) this.leaving -= held.nbytes;
    return held;
  }

  private spillDone(file: number, nbytes: number): void {
    const held = this.endWrite(file);
    if (held === null) return;
    held.file = file;
    held.fileBytes = nbytes;
    this.files += nbytes;
    // One that was under way when the disk was found full does not mean that there is room.
    if (this.blockedBy !== '' && !this.isWithin(this.blockedAt, this.blockedFor)) {
      this.blockedBy = '';
      this.log('info', 'Values go to disk again.');
    }
    if (held.dropped) this.deleteFile(held);
    else if (held.pins === 0) this.letGo(held);
  }

  private spillFailed(file: number, full: boolean, text: string): void {
    const held = this.endWrite(file);
    if (held === null) return;
    if (!held.dropped) this.settle(held);
    else if (text === '') return;
    if (full) this.freeFiles(held.nbytes);
    this.block(text);
  }

  private endRead(file: number): Held | null {
    const held = this.busy.get(file);
    if (held?.busy !== 'read') return null;
    this.busy.delete(file);
    held.busy = 'no';
    this.reading -= held.nbytes;
    if (held.dropped) this.deleteFile(held);
    return held.dropped ? null : held;
  }

  private readDone(file: number): void {
    const held = this.endRead(file);
    if (held === null) return;
    held.inMemory = true;
    this.memory += held.nbytes;
    this.onDisk -= held.nbytes;
    this.out.push({ op: 'keep', tid: held.tid, file });
    this.settle(held);
  }

  private readFailed(file: number, text: string): void {
    const held = this.endRead(file);
    if (held === null) return;
    this.drop(held.tid);
    this.out.push({ op: 'lost', tid: held.tid, text });
    this.log('warn', `A value could not be read back from disk: ${text}.`);
  }

  // ---------------------------------------------------------------- the process

  private measured(rss: number): void {
    if (this.settings.memoryLimit === 0) return;
    this.rss = rss;
    this.memoryAtReading = this.memory;
    this.setPaused(rss);
    this.spillUntilTarget(rss);
    if (this.isPaused) this.collect();
  }

  private setPaused(rss: number): void {
    const { pause, memoryLimit, target, spill } = this.settings;
    const beyond = pause > 0 && rss > this.bytesAt(pause);
    if (beyond === this.isPaused) return;
    this.isPaused = beyond;
    if (!beyond) {
      this.out.push({ op: 'unpause' });
      if (this.pauseLogged) this.log('info', 'Memory is free again: it goes on.');
      return;
    }
    const percent = (part: number): string => `${Math.round(100 * part)} %`;
    let reason =
      `it uses ${formatBytes(rss)}, ${percent(rss / memoryLimit)} of its memory limit of ` +
      `${formatBytes(memoryLimit)}, and pauses at ${percent(pause)}`;
    if (target === 0 && spill === 0) reason += '; spilling is off';
    else if (this.blockedBy !== '') reason += `; it cannot spill: ${this.blockedBy}`;
    this.out.push({ op: 'pause', reason });
    // A worker at its limit pauses many times a minute.
    this.pauseLogged = !this.isWithin(this.lastPauseLog, PAUSE_LOG_MS);
    if (!this.pauseLogged) return;
    this.lastPauseLog = this.now;
    this.log('warn', `Paused: ${reason}.`);
  }

  private spillUntilTarget(rss: number): void {
    const { target, spill } = this.settings;
    if (spill === 0) return;
    const first = !this.spilling && rss > this.bytesAt(spill);
    if (first) this.spilling = true;
    if (!this.spilling) return;
    const goal = this.bytesAt(target > 0 ? Math.min(target, spill) : spill);
    if (rss <= goal) {
      this.spilling = false;
      return;
    }
    this.collect();
    // Much of it may be garbage: the next reading tells.
    if (first && !this.isPaused) return;
    const excess = rss - goal - this.leaving;
    if (excess > 0) this.evict(excess);
  }

  private collect(): void {
    if (this.isWithin(this.lastCollect, this.stirred ? COLLECT_MS : COLLECT_IDLE_MS)) return;
    this.lastCollect = this.now;
    this.stirred = false;
    this.out.push({ op: 'collect-garbage' });
  }

  /** It is less than `ms` since then; the clock may have been set back. */
  private isWithin(since: number, ms: number): boolean {
    return this.now >= since && this.now - since < ms;
  }

  private log(level: 'info' | 'warn', text: string): void {
    this.out.push({ op: 'log', level, text });
  }

  // ---------------------------------------------------------------- self-check

  /** Throws when the books do not balance. */
  validate(): void {
    const sums = { memory: 0, onDisk: 0, reading: 0, writing: 0, leaving: 0, files: 0, clean: 0 };
    const evictable = new Set(this.recency);
    for (const [tid, held] of this.held) {
      must(held.tid === tid && !held.dropped, `${tid} is held under its number`);
      must(held.inMemory || held.file > 0, `${tid} is in memory or has a file`);
      must(held.busy !== 'read' || !held.inMemory, `${tid} is read when it is not in memory`);
      must(held.busy !== 'write' || held.inMemory, `${tid} is written from memory`);
      must(held.pins === 0 || held.inMemory || held.busy === 'read', `${tid}, pinned, is coming`);
      const free = held.busy === 'no' && held.pins === 0 && held.nbytes >= SMALLEST;
      must(evictable.has(held) === (free && held.inMemory), `${tid} is evictable if it is free`);
      sums[held.inMemory ? 'memory' : 'onDisk'] += held.nbytes;
      if (held.busy === 'write' && held.pins === 0) sums.leaving += held.nbytes;
      sums.files += held.fileBytes;
    }
    for (const held of evictable) {
      must(this.held.get(held.tid) === held, `${held.tid} is evictable and held`);
      if (held.file > 0) sums.clean++;
    }
    for (const held of this.busy.values()) {
      must(held.dropped || this.held.get(held.tid) === held, `${held.tid} is busy and held`);
      if (held.busy === 'read') sums.reading += held.nbytes;
      if (held.busy === 'write') sums.writing += held.nbytes;
      if (held.dropped) sums.files += held.fileBytes;
    }
    for (const [name, sum] of Object.entries(sums) as [keyof typeof sums, number][]) {
      must(Math.abs(this[name] - sum) < 1e-3, `${name} is ${sum}, counted as ${this[name]}`);
    }
    const { maxSpill } = this.settings;
    must(maxSpill === 0 || this.files <= maxSpill * 1.1, 'files stay below maxSpill');
  }
}

function must(holds: boolean, rule: string): void {
  if (!holds) throw new Error(`A worker's memory: broken rule "${rule}".`);
}
