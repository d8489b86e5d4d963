/**
 * The clock, the dice, the agenda and the log of one simulated run. Everything random in a run
 * comes from here, so that a seed tells all of it. Knows nothing of schedulers and workers.
 *
 * Virtual time is ms. Things on the agenda are either `work` (it must be over before the world is
 * at rest) or timers, which may go on for ever.
 */
import { Heap } from '../../src/base/heap.ts';
import { Rng } from '../../src/base/rng.ts';
import { hashText } from './program.ts';

interface Happening {
  at: number;
  order: number;
  work: boolean;
  run: () => void;
}

/** So many happenings in one run are taken for a livelock. */
const MOST_EVENTS = 150_000;

/** What the short names in the log mean; printed above a replayed seed's log. */
export const LEGEND = `
time in ms | process | what happened to it
  S scheduler   w3 worker number 3 (w? not registered yet)   c1 client   n0 nanny   * the world
  w3 < op …     worker 3 handles a message or event     w3 > op …   what it says to its scheduler
  t= task numbers   r= run numbers   c= a client's numbers   k= keys   f= worker numbers
  * lines that begin with FAULT are what the world does to the processes, USER what people do`;

export class World {
  readonly rng: Rng;
  readonly log: string[] | null;
  now = 1_000_000;
  hash = 0x811c9dc5;
  /** Happenings worked off. */
  events = 0;
  /** Faults of links, peers and processes happen while true. */
  faulty = true;
  private readonly agenda = new Heap<Happening>(
    (a, b) => a.at < b.at || (a.at === b.at && a.order < b.order)
  );
  private order = 0;
  private pendingWork = 0;

  constructor(seed: number, verbose: boolean) {
    this.rng = new Rng(seed);
    this.log = verbose ? [] : null;
  }

  /** One line of the log; every line goes into the hash, whether or not it is kept. */
  note(process: string, what: string): void {
    this.hash = hashText(what, hashText(process, this.hash ^ Math.floor(this.now * 1000)));
    this.log?.push(`${this.now.toFixed(2).padStart(11)} ${process.padEnd(3)} ${what}`);
  }

  /** Work that is under way until then. */
  after(delay: number, run: () => void): void {
    this.pendingWork++;
    this.agenda.push({ at: this.now + delay, order: this.order++, work: true, run });
  }

  /** A timer nobody waits for. */
  timer(delay: number, run: () => void): void {
    this.agenda.push({ at: this.now + delay, order: this.order++, work: false, run });
  }

  /** Runs every `interval` ms for as long as it returns true. */
  beat(interval: number, run: () => boolean): void {
    const again = (): void => {
      if (run()) this.timer(interval, again);
    };
    this.timer(interval, again);
  }

  /** Nothing is under way. */
  get idle(): boolean {
    return this.pendingWork === 0;
  }

  /** Works off the agenda until then. */
  runUntil(end: number): void {
    for (;;) {
      const next = this.agenda.peek();
      if (next === undefined || next.at > end) break;
      this.agenda.pop();
      if (next.work) this.pendingWork--;
      this.now = next.at;
      next.run();
      if (++this.events > MOST_EVENTS) throw new Error('the simulation does not come to rest');
    }
    this.now = Math.max(this.now, end);
  }

  /** A little later than now, as messages and threads are. */
  soon(most: number): number {
    return 0.05 + this.rng.next() * most;
  }
}
