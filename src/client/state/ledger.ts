/**
 * What a client would have to say again to a scheduler that knows nothing of it: all that it still
 * wants, and what that stands on. Kept from what the client says, so it is always what the client
 * wants now; what was said while there was no link is in it as well.
 *
 * A task stays while its key is wanted or a task that stays depends on it: `refs` counts twice the
 * dependents, and one for being wanted. Tasks lie in segments, in the columns in which they were
 * sent, so that a future costs a few numbers and no object. Numbers rise from segment to segment.
 */
import type {
  CancelKeys,
  ClientToScheduler,
  ErrorRecord,
  FireAndForget,
  PublishDataset,
  RegisterFunction,
  RetryKeys,
  TaskOptions,
  UnpublishDataset,
  UpdateGraph
} from '../../protocol/messages.ts';

/** Graphs of fewer tasks are put together; so many make a segment. */
const SMALL = 64;
const SEGMENT = 1024;

/** What becomes of a key, as far as the client knows. */
export interface Outcome {
  pending: boolean;
  error: ErrorRecord | null;
}

interface Segment {
  first: number;
  /** null: they follow each other from `first`. */
  cids: number[] | null;
  keys: string[];
  fns: number[];
  /** Arguments, one after the other over all blocks. */
  blocks: Uint8Array[];
  argOffsets: number[];
  deps: number[];
  /** Empty: no dependencies. */
  depOffsets: number[];
  /** null: in the order of their numbers. */
  order: number[] | null;
  refs: number[];
  options: TaskOptions;
  fifoTimeout: number;
  live: number;
}

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
    const { deps, first } = message;
    const fns = typeof message.fn === 'number' ? Array<number>(count).fill(message.fn) : message.fn;
    for (const fn of fns) {
      const kept = this.functions.get(fn);
      if (kept !== undefined) kept.uses++;
    }
    const wanted = message.wants === 'all' ? null : new Set(message.wants);
    const refs = Array<number>(count).fill(1);
    if (wanted !== null) refs.forEach((_, i) => (refs[i] = wanted.has(first + i) ? 1 : 0));
    const open = this.segments.at(-1);
    if (open !== undefined && canJoin(open, message)) join(open, message, fns, refs);
    else this.segments.push(newSegment(message, fns, refs));
    this.last = first + count - 1;
    for (const dep of deps) this.change(dep, 2, null);
    if (wanted !== null) this.dropUnneeded(first, count);
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
    said.push(LAST);
  }
}

/** Ends what a client says again. */
const LAST: UpdateGraph = {
  op: 'update-graph',
  first: 0,
  keys: [],
  fn: 0,
  args: new Uint8Array(0),
  argOffsets: [0],
  deps: [],
  depOffsets: [],
  options: {
    priority: 0,
    retries: 0,
    timeout: 0,
    workers: null,
    allowOtherWorkers: false,
    resources: null
  },
  fifoTimeout: 0,
  wants: 'all',
  again: 'last'
};

function cidsOf(message: Command): number[] {
  return message.op === 'unpublish-dataset' ? [] : [...message.cids];
}

function newSegment(message: UpdateGraph, fns: number[], refs: number[]): Segment {
  // The message may not have left yet, and later ones may be added to a small segment.
  const own = <T>(column: T[]): T[] => (refs.length <= SEGMENT ? column.slice() : column);
  return {
    first: message.first,
    cids: null,
    keys: own(message.keys),
    fns: own(fns),
    blocks: [message.args],
    argOffsets: own(message.argOffsets),
    deps: own(message.deps),
    depOffsets: own(message.depOffsets),
    order: message.order ?? null,
    refs,
    options: message.options,
    fifoTimeout: message.fifoTimeout,
    live: refs.length
  };
}

function canJoin(open: Segment, message: UpdateGraph): boolean {
  const count = message.keys.length;
  return (
    open.cids === null &&
    open.live > 0 &&
    open.order === null &&
    message.order === undefined &&
    count < SMALL &&
    open.keys.length + count <= SEGMENT &&
    open.first + open.keys.length === message.first &&
    open.options === message.options &&
    open.fifoTimeout === message.fifoTimeout
  );
}

/** Adds a small graph to the segment before it. */
function join(open: Segment, message: UpdateGraph, fns: number[], refs: number[]): void {
  const bytes = open.argOffsets.at(-1) ?? 0;
  const before = open.deps.length;
  const hasDeps = message.depOffsets.length > 0;
  if (hasDeps && open.depOffsets.length === 0)
    open.depOffsets = Array<number>(open.keys.length + 1).fill(0);
  for (let i = 0; i < fns.length; i++) {
    open.keys.push(message.keys[i] as string);
    open.fns.push(fns[i] as number);
    open.refs.push(refs[i] as number);
    open.argOffsets.push(bytes + (message.argOffsets[i + 1] as number));
    if (open.depOffsets.length > 0)
      open.depOffsets.push(before + (hasDeps ? (message.depOffsets[i + 1] as number) : 0));
  }
  for (const dep of message.deps) open.deps.push(dep);
  open.blocks.push(message.args);
  open.live += fns.length;
}

/** Nothing of it stays; its place among the others does. */
function empty(segment: Segment): void {
  segment.cids = [];
  segment.keys = [];
  segment.fns = [];
  segment.blocks = [];
  segment.argOffsets = [0];
  segment.deps = [];
  segment.depOffsets = [];
  segment.order = null;
  segment.refs = [];
}

/** Gives back the memory of tasks that are gone, when they are most. */
function compact(segment: Segment): void {
  const places: number[] = [];
  segment.refs.forEach((refs, at) => {
    if (refs > 0) places.push(at);
  });
  const chosen = choose(segment, places);
  segment.fns = places.map(at => segment.fns[at] as number);
  segment.refs = places.map(at => segment.refs[at] as number);
  segment.cids = chosen.cids;
  segment.keys = chosen.keys;
  segment.blocks = [chosen.args];
  segment.argOffsets = chosen.argOffsets;
  segment.deps = chosen.deps;
  segment.depOffsets = chosen.depOffsets;
  segment.order = places.map(at => segment.order?.[at] ?? at);
}

/** The columns of some tasks, for themselves. */
function choose(
  segment: Segment,
  places: readonly number[]
): Required<Pick<UpdateGraph, 'cids' | 'keys' | 'args' | 'argOffsets' | 'deps' | 'depOffsets'>> {
  const all = wholeArgs(segment);
  const argOffsets = [0];
  const deps: number[] = [];
  const depOffsets = [0];
  let bytes = 0;
  for (const at of places) {
    bytes += (segment.argOffsets[at + 1] as number) - (segment.argOffsets[at] as number);
    argOffsets.push(bytes);
    const to = segment.depOffsets[at + 1] ?? 0;
    for (let i = segment.depOffsets[at] ?? 0; i < to; i++) deps.push(segment.deps[i] as number);
    depOffsets.push(deps.length);
  }
  const args = new Uint8Array(bytes);
  places.forEach((at, i) => {
    const part = all.subarray(segment.argOffsets[at], segment.argOffsets[at + 1]);
    args.set(part, argOffsets[i]);
  });
  return {
    cids: places.map(at => numberAt(segment, at)),
    keys: places.map(at => segment.keys[at] as string),
    args,
    argOffsets,
    deps,
    depOffsets: deps.length === 0 ? [] : depOffsets
  };
}

function wholeArgs(segment: Segment): Uint8Array {
  const [only] = segment.blocks;
  if (only !== undefined && segment.blocks.length === 1) return only;
  const all = new Uint8Array(segment.argOffsets.at(-1) ?? 0);
  let at = 0;
  for (const block of segment.blocks) {
    all.set(block, at);
    at += block.length;
  }
  segment.blocks = [all];
  return all;
}

function numberAt(segment: Segment, at: number): number {
  return segment.cids === null ? segment.first + at : (segment.cids[at] as number);
}

function placeOf(segment: Segment, cid: number): number {
  if (segment.cids === null) return cid - segment.first;
  let low = 0;
  let high = segment.cids.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((segment.cids[middle] as number) < cid) low = middle + 1;
    else high = middle;
  }
  return segment.cids[low] === cid ? low : -1;
}

/** Where the tasks begin, from `from` on, that got their number later than `cid`. */
function placeAfter(segment: Segment, cid: number, from: number): number {
  let at = from;
  while (at < segment.keys.length && numberAt(segment, at) <= cid) at++;
  return at;
}

/** The tasks of a range that stay, as one part of what is said again; null when there are none. */
function graphOf(
  segment: Segment,
  from: number,
  to: number,
  outcome: (cid: number) => Outcome
): UpdateGraph | null {
  const places: number[] = [];
  for (let at = from; at < to; at++) if ((segment.refs[at] as number) > 0) places.push(at);
  if (places.length === 0) return null;
  const chosen = choose(segment, places);
  const { order } = segment;
  const wants = chosen.cids.filter((_, i) => ((segment.refs[places[i] as number] ?? 0) & 1) === 1);
  const failed: NonNullable<UpdateGraph['failed']> = { tasks: [], which: [], errors: [] };
  chosen.cids.forEach((cid, i) => {
    const { error } = outcome(cid);
    if (error === null) return;
    let which = failed.errors.lastIndexOf(error);
    if (which < 0) which = failed.errors.push(error) - 1;
    failed.tasks.push(i);
    failed.which.push(which);
  });
  return {
    op: 'update-graph',
    first: chosen.cids[0] as number,
    fn: places.map(at => segment.fns[at] as number),
    options: segment.options,
    fifoTimeout: segment.fifoTimeout,
    wants: wants.length === places.length ? 'all' : wants,
    again: 'part',
    ...(order === null ? {} : { order: places.map(at => order[at] as number) }),
    ...(failed.tasks.length === 0 ? {} : { failed }),
    ...chosen
  };
}
