/**
 * Tasks that a client has submitted, in the columns in which they were sent: a future costs a few
 * numbers and no object. A segment is one graph, or several small ones; its numbers rise. Tasks that
 * are gone have negative references, and leave when they are most.
 */
import type { ErrorRecord, TaskOptions, UpdateGraph } from '../../protocol/messages.ts';

/** Graphs of fewer tasks are put together; so many make a segment. */
export const SMALL = 64;
const SEGMENT = 1024;

/** What becomes of a key, as far as the client knows. */
export interface Outcome {
  pending: boolean;
  error: ErrorRecord | null;
}

/** Columns of tasks; see the head of this file. */
export interface Segment {
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

/** A graph as it was sent, every task with its references. */
export function newSegment(message: UpdateGraph, fns: number[], refs: number[]): Segment {
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

/** Whether a graph is small enough, and like enough, to be added to the segment before it. */
export function canJoin(open: Segment, message: UpdateGraph): boolean {
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
export function join(open: Segment, message: UpdateGraph, fns: number[], refs: number[]): void {
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
export function empty(segment: Segment): void {
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
export function compact(segment: Segment): void {
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

/** Where in its segment a number lies; -1: nowhere. */
export function placeOf(segment: Segment, cid: number): number {
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
export function placeAfter(segment: Segment, cid: number, from: number): number {
  let at = from;
  while (at < segment.keys.length && numberAt(segment, at) <= cid) at++;
  return at;
}

/** The tasks of a range that stay, as one part of what is said again; null when there are none. */
export function graphOf(
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
