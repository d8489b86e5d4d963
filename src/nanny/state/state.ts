/**
 * Which workers a host should have, and what must be done to have them: events in, instructions
 * out. Knows no clock, timer or process; times are ms and come with each event.
 *
 * A worker that ends unasked is started again, after 0.1 s, doubling to 10 s with each end within
 * the last minute; after ten of those it is given up until somebody scales or restarts. A worker
 * beyond 95 % of its memory limit at two readings in a row, or beyond all of it together with the
 * processes below it at eight, is ended. Names are never used for another worker. While the
 * scheduler is away no worker is started and none is blamed for ending: there is nobody it could
 * register with.
 *
 * Invariants (validate): wanted slots are exactly the target unless closing; a slot has a process
 * if and only if it is starting, running or ending.
 */
import { formatBytes } from '../../base/bytes.ts';
import type { NannyEvent, NannyInstruction, ProcessEnd } from './events.ts';

export interface NannySettings {
  /** Workers are named `<prefix>0`, `<prefix>1`, … */
  namePrefix: string;
  /** Bytes of one worker; 0 = no limit. */
  memoryLimit: number;
  /** Part of the limit at which a worker is ended; 0 = never. */
  terminateAt: number;
  /** ms between the first end and the next start; doubles. */
  backoffMs: number;
  backoffMaxMs: number;
  /** Ends within `budgetWindowMs` after which a worker is given up. */
  restartBudget: number;
  budgetWindowMs: number;
  /** ms a worker may take to register. */
  startLimitMs: number;
  /** ms a worker may take to end when asked, before it is killed. */
  endLimitMs: number;
  /** Starts that fail before any worker has ever run, after which the nanny gives up. */
  firstStarts: number;
}

export const NANNY_DEFAULTS: NannySettings = {
  namePrefix: 'worker-',
  memoryLimit: 0,
  terminateAt: 0.95,
  backoffMs: 100,
  backoffMaxMs: 10_000,
  restartBudget: 10,
  budgetWindowMs: 60_000,
  startLimitMs: 60_000,
  endLimitMs: 3000,
  firstStarts: 3
};

/**
 * waiting   no process; the next start comes at `due`
 * starting  a process that has not registered yet; killed at `due`
 * running   registered with the scheduler
 * ending    told to end; killed at `due`
 * given-up  no process; ended too often to be started again unasked
 */
export type SlotStatus = 'waiting' | 'starting' | 'running' | 'ending' | 'given-up';

interface Slot {
  readonly name: string;
  status: SlotStatus;
  due: number;
  /** Starts again when it has ended. */
  wanted: boolean;
  /** Why we end it, when we do. */
  endReason: string | null;
  /** We end it because somebody asked for that, not for a fault of it. */
  expected: boolean;
  /** Resident bytes at the last reading. */
  rss: number;
  /** Readings in a row beyond the limit. */
  beyond: number;
  /** Times of unasked ends within the window. */
  ends: number[];
  lastReason: string;
}

/** Readings in a row at which a worker goes whose processes below it pass its limit. */
const READINGS_OF_TREE = 8;

export class NannyState {
  private readonly settings: NannySettings;
  private readonly slots = new Map<string, Slot>();
  private nextNumber = 0;
  private target = 0;
  private closing: string | null = null;
  private finished = false;
  private everReady = false;
  /** The link to the scheduler was lost and is not back. */
  private away = false;
  private failedStarts = 0;
  private statusSent = '';
  private out: NannyInstruction[] = [];

  constructor(settings: Partial<NannySettings> = {}) {
    this.settings = { ...NANNY_DEFAULTS, ...settings };
  }

  handle(event: NannyEvent, now: number): NannyInstruction[] {
    this.out = [];
    this.on(event, now);
    if (!this.finished) this.settle();
    return this.out;
  }

  /** When the state wants a `tick`, or null. */
  get nextWake(): number | null {
    let wake: number | null = null;
    for (const slot of this.slots.values()) {
      if (slot.status === 'running' || slot.status === 'given-up') continue;
      if (slot.due === Infinity) continue;
      if (wake === null || slot.due < wake) wake = slot.due;
    }
    return wake;
  }

  /** How many workers are asked for, have registered, and have none of it yet. */
  counts(): { target: number; running: number; starting: number } {
    let running = 0;
    let starting = 0;
    for (const slot of this.slots.values()) {
      if (slot.wanted && slot.status === 'running') running++;
      if (slot.wanted && slot.status !== 'running' && slot.status !== 'given-up') starting++;
    }
    return { target: this.target, running, starting };
  }

  /** Status by name, for people and tests. */
  list(): { name: string; status: SlotStatus; wanted: boolean }[] {
    return [...this.slots.values()].map(({ name, status, wanted }) => ({ name, status, wanted }));
  }

  /** Throws when an invariant does not hold. */
  validate(): void {
    const wanted = [...this.slots.values()].filter(slot => slot.wanted).length;
    const expected = this.closing === null ? this.target : 0;
    if (wanted !== expected) throw new Error(`${wanted} workers are wanted, target ${expected}`);
    for (const slot of this.slots.values()) {
      if (!slot.wanted && slot.status !== 'ending') {
        throw new Error(`${slot.name} is not wanted but ${slot.status}`);
      }
    }
  }

  private on(event: NannyEvent, now: number): void {
    switch (event.type) {
      case 'scale':
        return this.scale(event.workers, event.close, now);
      case 'close-workers':
        return this.closeWorkers(event.names, event.reason, now);
      case 'restart-workers':
        return this.restart(event.names, now);
      case 'worker-ready':
        return this.ready(event.name);
      case 'worker-memory':
        return this.memory(event.name, event.rss, event.tree ?? event.rss, now);
      case 'worker-exited':
        return this.exited(event.name, event.end, now);
      case 'scheduler-lost':
        this.away = true;
        return;
      case 'scheduler-back':
        return this.schedulerBack(now);
      case 'close':
        return this.close(event.reason, now);
      case 'tick':
        return this.tick(now);
    }
  }

  private scale(workers: number, close: readonly string[], now: number): void {
    if (this.closing !== null) return;
    this.target = workers;
    for (const name of close) {
      const slot = this.slots.get(name);
      if (slot?.wanted === true) this.dismiss(slot, 'scaled down', now);
    }
    // Those that have not come yet are called off first.
    const wanted = [...this.slots.values()]
      .filter(slot => slot.wanted)
      .sort((a, b) => Number(b.status === 'running') - Number(a.status === 'running'));
    for (const slot of wanted) if (slot.status === 'given-up') this.revive(slot, now);
    for (const slot of wanted.slice(workers)) this.dismiss(slot, 'scaled down', now);
    for (let count = wanted.length; count < workers; count++) this.add(now);
  }

  /** These have left the cluster in order: they are ended and none takes their place. */
  private closeWorkers(names: readonly string[], reason: string, now: number): void {
    if (this.closing !== null) return;
    for (const name of names) {
      const slot = this.slots.get(name);
      // One that is being ended for a fault is to be started again.
      if (slot?.wanted !== true || (slot.status === 'ending' && !slot.expected)) continue;
      this.target--;
      this.dismiss(slot, reason, now);
    }
  }

  private add(now: number): void {
    const slot: Slot = {
      name: `${this.settings.namePrefix}${this.nextNumber++}`,
      status: 'waiting',
      due: now,
      wanted: true,
      endReason: null,
      expected: false,
      rss: 0,
      beyond: 0,
      ends: [],
      lastReason: ''
    };
    this.slots.set(slot.name, slot);
    this.spawn(slot, now);
  }

  private spawn(slot: Slot, now: number): void {
    if (this.away) {
      slot.status = 'waiting';
      slot.due = Infinity;
      return;
    }
    slot.status = 'starting';
    slot.due = now + this.settings.startLimitMs;
    slot.endReason = null;
    slot.expected = false;
    slot.rss = 0;
    slot.beyond = 0;
    this.out.push({ op: 'spawn', name: slot.name });
  }

  private schedulerBack(now: number): void {
    this.away = false;
    for (const slot of this.slots.values()) {
      if (slot.status === 'waiting' && slot.due === Infinity) this.spawn(slot, now);
      // Its time to register begins anew: there was nobody to register with.
      else if (slot.status === 'starting') slot.due = now + this.settings.startLimitMs;
    }
  }

  private revive(slot: Slot, now: number): void {
    slot.ends = [];
    this.spawn(slot, now);
  }

  /** Ends a worker that is not wanted any more. */
  private dismiss(slot: Slot, reason: string, now: number): void {
    slot.wanted = false;
    if (slot.status === 'waiting' || slot.status === 'given-up') this.slots.delete(slot.name);
    else this.ask(slot, reason, now);
  }

  private ask(slot: Slot, reason: string, now: number): void {
    if (slot.status === 'ending') {
      // It is ending already, perhaps for a fault; what it was asked for last decides.
      return;
    }
    slot.status = 'ending';
    slot.due = now + this.settings.endLimitMs;
    slot.endReason = reason;
    slot.expected = true;
    this.out.push({ op: 'ask', name: slot.name, reason });
  }

  private restart(names: readonly string[] | null, now: number): void {
    if (this.closing !== null) return;
    for (const slot of this.slots.values()) {
      if (!slot.wanted || (names !== null && !names.includes(slot.name))) continue;
      if (slot.status === 'given-up' || slot.status === 'waiting') this.revive(slot, now);
      else this.ask(slot, 'restarted', now);
    }
  }

  private ready(name: string): void {
    const slot = this.slots.get(name);
    this.everReady = true;
    if (slot?.status === 'starting') slot.status = 'running';
  }

  private memory(name: string, rss: number, tree: number, now: number): void {
    const slot = this.slots.get(name);
    if (slot === undefined || (slot.status !== 'running' && slot.status !== 'starting')) return;
    slot.rss = tree;
    const limit = this.settings.memoryLimit;
    const { terminateAt } = this.settings;
    const isBeyond = rss > limit * terminateAt;
    if (limit === 0 || terminateAt === 0 || (!isBeyond && tree <= limit)) {
      slot.beyond = 0;
      return;
    }
    // One reading may be a result that the worker is just about to refuse as too large. What its
    // Python processes take, the worker itself sees first, and ends only the largest of them.
    slot.beyond += isBeyond ? READINGS_OF_TREE / 2 : 1;
    if (slot.beyond < READINGS_OF_TREE) return;
    slot.endReason = this.outOfMemory(tree);
    slot.expected = false;
    slot.status = 'ending';
    // The next reading would come too late for a machine that is short of memory.
    slot.due = now + 100;
    this.out.push({ op: 'signal', name, signal: 'SIGTERM' });
  }

  private outOfMemory(rss: number): string {
    const { memoryLimit, terminateAt } = this.settings;
    return (
      `out of memory (limit ${formatBytes(memoryLimit)}): it used ${formatBytes(rss)}, and a worker is ` +
      `ended at ${Math.round(terminateAt * 100)} % of its limit`
    );
  }

  private exited(name: string, end: ProcessEnd, now: number): void {
    const slot = this.slots.get(name);
    if (slot === undefined) return;
    const reason = this.reasonOf(slot, end);
    const expected = slot.expected;
    const neverReady = slot.status === 'starting';
    this.out.push({
      op: 'worker-exited',
      name,
      pid: end.pid,
      reason,
      expected,
      // What it said before an end that was asked for explains nothing.
      lastLines: expected ? [] : end.lastLines,
      ...end.executing
    });
    if (!slot.wanted) this.slots.delete(name);
    else if (expected || this.away) this.spawn(slot, now);
    else this.backOff(slot, reason, neverReady, end, now);
  }

  private backOff(
    slot: Slot,
    reason: string,
    neverReady: boolean,
    end: ProcessEnd,
    now: number
  ): void {
    const { backoffMs, backoffMaxMs, budgetWindowMs, restartBudget, firstStarts } = this.settings;
    slot.lastReason = reason;
    // It has no process any more, whatever is decided below.
    slot.status = 'waiting';
    slot.ends = slot.ends.filter(time => time > now - budgetWindowMs);
    slot.ends.push(now);
    if (neverReady && !this.everReady && ++this.failedStarts >= firstStarts) {
      const lines = end.lastLines.map(line => `\n  ${line}`);
      this.close(`Workers do not start. ${slot.name}: ${reason}${lines.join('')}`, now);
      return;
    }
    if (slot.ends.length > restartBudget) {
      slot.status = 'given-up';
      this.out.push({ op: 'log', line: `${slot.name}: ${reason}. ${this.givenUp(slot)}` });
      return;
    }
    const delay = Math.min(backoffMaxMs, backoffMs * 2 ** (slot.ends.length - 1));
    slot.due = now + delay;
    this.out.push({ op: 'log', line: `${slot.name}: ${reason}. It starts again in ${delay} ms.` });
  }

  private givenUp(slot: Slot): string {
    return (
      `It ended ${slot.ends.length} times within a minute and is not started again: see its log, ` +
      `then restart the workers`
    );
  }

  private reasonOf(slot: Slot, end: ProcessEnd): string {
    if (end.startError !== null) return `its process could not be started: ${end.startError}`;
    if (slot.endReason !== null) return slot.endReason;
    if (end.signal === 'SIGKILL' && end.kernelKilled) {
      return `killed by the kernel's out-of-memory killer${this.lastSeen(slot)}`;
    }
    if (end.signal !== null) return `killed by ${end.signal}${this.lastSeen(slot)}`;
    if (end.said !== null) return end.said;
    return `exit code ${end.code}`;
  }

  private lastSeen(slot: Slot): string {
    const { memoryLimit } = this.settings;
    if (slot.rss === 0) return '';
    const limit = memoryLimit === 0 ? '' : ` of ${formatBytes(memoryLimit)}`;
    return ` (it used ${formatBytes(slot.rss)}${limit} of memory when last seen)`;
  }

  private close(reason: string, now: number): void {
    if (this.closing !== null) return;
    this.closing = reason;
    for (const slot of [...this.slots.values()]) this.dismiss(slot, reason, now);
  }

  private tick(now: number): void {
    for (const slot of this.slots.values()) {
      if (slot.due > now) continue;
      if (slot.status === 'waiting') this.spawn(slot, now);
      else if (slot.status === 'ending') this.kill(slot, now);
      else if (slot.status === 'starting' && this.away) {
        slot.due = now + this.settings.startLimitMs;
      } else if (slot.status === 'starting') {
        slot.status = 'ending';
        slot.endReason = `it did not register within ${this.settings.startLimitMs / 1000} s`;
        this.kill(slot, now);
      }
    }
  }

  private kill(slot: Slot, now: number): void {
    slot.due = now + 1000;
    this.out.push({ op: 'signal', name: slot.name, signal: 'SIGKILL' });
  }

  /** After each event: tells of changes, and of the end. */
  private settle(): void {
    if (this.closing !== null && this.slots.size === 0) {
      this.finished = true;
      this.out.push({ op: 'finished', reason: this.closing });
      return;
    }
    const { target, starting } = this.counts();
    const reason = this.trouble();
    const status = `${target} ${starting} ${reason}`;
    if (status === this.statusSent) return;
    this.statusSent = status;
    this.out.push({ op: 'nanny-status', target, starting, reason });
  }

  /** Why workers are missing, in a sentence, or null. */
  private trouble(): string | null {
    for (const slot of this.slots.values()) {
      if (slot.status === 'given-up') {
        return `${slot.name}: ${slot.lastReason}. ${this.givenUp(slot)}.`;
      }
    }
    for (const slot of this.slots.values()) {
      if (slot.status === 'waiting' && slot.ends.length > 0) {
        return `${slot.name} ended and is being started again: ${slot.lastReason}.`;
      }
    }
    return null;
  }
}
