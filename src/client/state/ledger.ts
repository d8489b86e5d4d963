/**
 * What a client would have to say again to a scheduler that knows nothing of it: all that it still
 * wants, and what that stands on. Kept from what the client says, so it is always what the client
 * wants now; what was said while there was no link is in it as well.
 *
 * A task stays while its key is wanted or a task that stays depends on it: `refs` counts twice the
 * dependents, and one for being wanted. Tasks lie in segments (segments.ts); numbers rise from segment
 * to segment.
 */
import type {
  CancelKeys,
  ClientToScheduler,
  FireAndForget,
  PublishDataset,
  RegisterFunction,
  RetryKeys,
  UnpublishDataset,
  UpdateGraph
} from '../../protocol/messages.ts';
import {
  canJoin,
  compact,
  empty,
  graphOf,
  join,
  newSegment,
  placeAfter,
  placeOf,
  SMALL
} from './segments.ts';
import type { Outcome, Segment } from './segments.ts';
import { LAST_GRAPH } from '../../protocol/task-options.ts';

interface Named {
  key: string;
  /** The client's own data, not a task of another. */
  data: boolean;
  refs: number;
}

interface Kept {
  message: RegisterFunction;
  /** Tasks that stay and use it. */
  uses: number;
  registered: boolean;
}

/** What is done once, rather than wanted. */
type Command = CancelKeys | RetryKeys | FireAndForget | PublishDataset | UnpublishDataset;

/** Kept while there was no link to say it over; cancelling and retrying until it has an effect. */
interface Said {
  message: Command;
  /** The last number that the client had given by then. */
  at: number;
  /** Nobody has heard it: the keys it speaks of are held for it. */
  unheard: boolean;
}

/** The books of one client. */
export class Ledger {
  private segments: Segment[] = [];
  private dead = 0;
  private readonly named = new Map<number, Named>();
  private readonly functions = new Map<number, Kept>();
  private commands: Said[] = [];
  private last = 0;

  /** Tasks and data that would be said again. */
  get size(): number {
    let size = this.named.size;
    for (const segment of this.segments) size += segment.live;
    return size;
  }

  /** Takes in what the client says, in order; `heard`: there is a link to say it over. */
  note(message: ClientToScheduler, heard: boolean): void {
    switch (message.op) {
      case 'register-function':
        this.functions.set(message.fn, { message, uses: 0, registered: true });
        return;
      case 'release-functions':
        for (const fn of message.fns) this.releaseFunction(fn);
        return;
      case 'update-graph':
        return this.addGraph(message);
      case 'client-desires-keys':
      case 'scattered': {
        const data = message.op === 'scattered' || message.again === 'data';
        message.cids.forEach((cid, i) => {
          this.named.set(cid, { key: message.keys[i] ?? '', data, refs: 1 });
          this.last = Math.max(this.last, cid);
        });
        return;
      }
      case 'client-releases-keys':
        return this.unwant(message.cids);
      case 'cancel-keys':
      case 'retry-keys':
      case 'fire-and-forget':
      case 'publish-dataset':
      case 'unpublish-dataset':
        return this.addCommand(message, heard);
      case 'register-client':
      case 'heartbeat-client':
      case 'request':
        return;
    }
  }

  /** These will never be there: the client has been told so. */
  unwant(cids: readonly number[]): void {
    const stack: number[] = [];
    for (const cid of cids) this.change(cid, -1, stack);
    this.letGo(stack);
  }

  /**
   * All of it as messages: functions, keys known by name, graphs with the cancels between them
   * where they were said, and what must come after them.
   */
  resume(outcome: (cid: number) => Outcome): ClientToScheduler[] {
    this.forgetCommands();
    const said: ClientToScheduler[] = [];
    for (const { message } of this.functions.values()) said.push(message);
    this.sayNamed(said, 'data');
    this.sayNamed(said, 'others');
    this.sayGraphs(said, outcome);
    // Only what stands on them wants them.
    const unwanted = [...this.named].filter(([, one]) => (one.refs & 1) === 0).map(([cid]) => cid);
    if (unwanted.length > 0) said.push({ op: 'client-releases-keys', cids: unwanted });
    for (const { message } of this.commands) {
      if (message.op !== 'retry-keys') continue;
      const cids = message.cids.filter(cid => outcome(cid).pending);
      if (cids.length > 0) said.push({ op: 'retry-keys', cids });
    }
    const unused = [...this.functions].filter(([, kept]) => !kept.registered).map(([fn]) => fn);
    if (unused.length > 0) said.push({ op: 'release-functions', fns: unused });
    for (const command of this.commands) {
      if (!command.unheard) continue;
      command.unheard = false;
      this.letGo(cidsOf(command.message));
    }
    return said;
  }

  // ---------------------------------------------------------------- taking in

  private addCommand(message: Command, heard: boolean): void {
    const lasts = message.op === 'cancel-keys' || message.op === 'retry-keys';
    if (!heard) for (const cid of cidsOf(message)) this.change(cid, 2, null);
    if (message.op === 'cancel-keys') this.unwant(message.cids);
    if (heard && !lasts) return;
    this.commands.push({ message, at: this.last, unheard: !heard });
    if (this.commands.length % 100 === 0) this.forgetCommands();
  }

  private addGraph(message: UpdateGraph): void {
    const count = message.keys.length;
    if (count === 0) return;
    const { deps, first, wants } = message;
    const fns = typeof message.fn === 'number' ? Array<number>(count).fill(message.fn) : message.fn;
    this.useFunctions(fns);
    const refs = wants === 'all' ? Array<number>(count).fill(1) : wantedOf(wants, first, count);
    const open = this.segments.at(-1);
    if (open !== undefined && canJoin(open, message)) join(open, message, fns, refs);
    else this.segments.push(newSegment(message, fns, refs));
    this.last = first + count - 1;
    for (const dep of deps) this.change(dep, 2, null);
    if (wants !== 'all') this.dropUnneeded(first, count);
  }

  private useFunctions(fns: readonly number[]): void {
    for (const fn of fns) {
      const kept = this.functions.get(fn);
      if (kept !== undefined) kept.uses++;
    }
  }

  /** Tasks of a graph that are neither wanted nor needed by another. */
  private dropUnneeded(first: number, count: number): void {
    const stack: number[] = [];
    for (let cid = first + count - 1; cid >= first; cid--) this.change(cid, 0, stack);
    this.letGo(stack);
  }

  private releaseFunction(fn: number): void {
    const kept = this.functions.get(fn);
    if (kept === undefined) return;
    kept.registered = false;
    if (kept.uses === 0) this.functions.delete(fn);
  }

  // ---------------------------------------------------------------- counting

  /** By -1: wanted no more; by ±2: a dependent more or less. What falls to 0 goes, its inputs onto the stack. */
  private change(cid: number, by: number, stack: number[] | null): void {
    const named = this.named.get(cid);
    if (named !== undefined) {
      if (by !== -1 || (named.refs & 1) === 1) named.refs += by;
      if (named.refs === 0) this.named.delete(cid);
      return;
    }
    const segment = this.segmentOf(cid);
    if (segment === null) return;
    const at = placeOf(segment, cid);
    const refs = segment.refs[at];
    // Gone already, or never wanted.
    if (refs === undefined || refs < 0 || (by === -1 && (refs & 1) === 0)) return;
    segment.refs[at] = refs + by;
    if (refs + by === 0) this.drop(segment, at, stack ?? []);
  }

  /** A dependent less of each. */
  private letGo(stack: number[]): void {
    for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) this.change(cid, -2, stack);
  }

  private drop(segment: Segment, at: number, stack: number[]): void {
    segment.refs[at] = -1;
    segment.live--;
    const fn = segment.fns[at] as number;
    const kept = this.functions.get(fn);
    if (kept !== undefined && --kept.uses === 0 && !kept.registered) this.functions.delete(fn);
    const to = segment.depOffsets[at + 1] ?? 0;
    for (let i = segment.depOffsets[at] ?? 0; i < to; i++) stack.push(segment.deps[i] as number);
    const count = segment.keys.length;
    if (segment.live === 0) {
      empty(segment);
      this.dead++;
      if (this.dead > 32 && this.dead * 2 > this.segments.length) this.sweep();
    } else if (count >= SMALL && segment.live * 4 < count) compact(segment);
  }

  private sweep(): void {
    this.segments = this.segments.filter(segment => segment.live > 0);
    this.dead = 0;
  }

  /** The segment in whose range a number lies. */
  private segmentOf(cid: number): Segment | null {
    const { segments } = this;
    let low = 0;
    let high = segments.length - 1;
    // Most questions are about what came last.
    if (high >= 0 && (segments[high] as Segment).first <= cid) return segments[high] as Segment;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((segments[middle] as Segment).first <= cid) low = middle;
      else high = middle - 1;
    }
    const found = segments[low];
    return found !== undefined && found.first <= cid ? found : null;
  }

  private has(cid: number): boolean {
    if (this.named.has(cid)) return true;
    const segment = this.segmentOf(cid);
    return segment !== null && (segment.refs[placeOf(segment, cid)] ?? -1) > 0;
  }

  /** Those about keys that are no more. */
  private forgetCommands(): void {
    this.commands = this.commands.filter(({ message, unheard }) => {
      return unheard || cidsOf(message).some(cid => this.has(cid));
    });
  }

  // ---------------------------------------------------------------- saying again

  private sayNamed(said: ClientToScheduler[], again: 'data' | 'others'): void {
    const chosen = [...this.named].filter(([, one]) => one.data === (again === 'data'));
    if (chosen.length === 0) return;
    const cids = chosen.map(([cid]) => cid);
    said.push({ op: 'client-desires-keys', cids, keys: chosen.map(([, one]) => one.key), again });
  }

  private sayGraphs(said: ClientToScheduler[], outcome: (cid: number) => Outcome): void {
    const commands = this.commands.filter(({ message }) => message.op !== 'retry-keys');
    let next = 0;
    const sayCommand = (): void => {
      const { message, unheard } = commands[next++] as Said;
      // What was heard has been done to others: now it is about this client's tasks alone.
      const repeated = message.op === 'cancel-keys' && !unheard;
      said.push(repeated ? { ...message, keys: [], force: false } : message);
    };
    for (const segment of this.segments) {
      const count = segment.keys.length;
      for (let from = 0; from < count;) {
        const to = placeAfter(segment, commands[next]?.at ?? Infinity, from);
        const graph = graphOf(segment, from, to, outcome);
        if (graph !== null) said.push(graph);
        if (to < count) sayCommand();
        from = to;
      }
    }
    while (next < commands.length) sayCommand();
    said.push(LAST_GRAPH);
  }
}

function cidsOf(message: Command): number[] {
  return message.op === 'unpublish-dataset' ? [] : [...message.cids];
}

/** For each task of a graph whether it is wanted: 1, or 0. */
function wantedOf(wants: readonly number[], first: number, count: number): number[] {
  const refs = Array<number>(count).fill(0);
  for (const cid of wants) refs[cid - first] = 1;
  return refs;
}
