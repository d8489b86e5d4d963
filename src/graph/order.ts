/**
 * The static order of a graph: which task runs first when several could, so that few intermediate
 * values are alive at a time. It is found by running the graph in thought, one task after the other:
 *
 * - to make a task, its inputs are made one after the other, depth first; the one that needs most
 *   values alive while it is made comes first (Sethi and Ullman's numbering, exact for trees);
 * - a task that is ready and sets an input free is run at once;
 * - when a result has been made, the next is one that has begun: most of its inputs are there.
 *
 * Ties go by the order of submission. O(n log n + e log e).
 */
import { Heap } from '../base/heap.ts';

/** A graph in compressed rows: node i needs deps[offsets[i]..offsets[i+1]), all smaller than i. */
export interface Graph {
  offsets: readonly number[];
  deps: readonly number[];
}

/** Place of each node, or null when that is the order they are in already. */
export function staticOrder(graph: Graph): number[] | null {
  const places = new Walk(graph).run();
  return places.every((place, i) => place === i) ? null : places;
}

class Walk {
  private readonly count: number;
  private readonly offsets: readonly number[];
  private readonly deps: Int32Array;
  /** Dependents in compressed rows. */
  private readonly outOffsets: Int32Array;
  private readonly out: Int32Array;
  /** Dependents that have not run. */
  private readonly needs: Int32Array;
  /** Inputs that have not run. */
  private readonly missing: Int32Array;
  private readonly places: number[];
  private next = 0;
  /** Where the look through a node's inputs has come to. */
  private readonly cursor: Int32Array;
  /** Nodes of which inputs have run, as missing inputs x count + node; stale ones among them. */
  private readonly begun = new Heap<number>((a, b) => a < b);

  constructor({ offsets, deps }: Graph) {
    const count = offsets.length - 1;
    this.count = count;
    this.offsets = offsets;
    this.deps = Int32Array.from(deps);
    this.needs = new Int32Array(count);
    this.missing = new Int32Array(count);
    this.cursor = Int32Array.from(offsets);
    this.places = new Array<number>(count).fill(-1);
    for (const dep of deps) this.needs[dep]!++;
    this.outOffsets = new Int32Array(count + 1);
    for (let i = 0; i < count; i++) this.outOffsets[i + 1] = this.outOffsets[i]! + this.needs[i]!;
    this.out = new Int32Array(deps.length);
    const fill = this.outOffsets.slice();
    for (let i = 0; i < count; i++) {
      this.missing[i] = offsets[i + 1]! - offsets[i]!;
      for (let at = offsets[i]!; at < offsets[i + 1]!; at++) {
        this.out[fill[this.deps[at]!]!++] = i;
      }
    }
  }

  run(): number[] {
    this.sortInputs();
    for (let result = 0; result < this.count; result++) {
      // Results are what nothing depends on; the rest is made on the way to them.
      if (this.outOffsets[result + 1] !== this.outOffsets[result]) continue;
      this.make(result);
      for (let entry = this.begun.pop(); entry !== undefined; entry = this.begun.pop()) {
        const node = entry % this.count;
        if (this.missing[node] === (entry - node) / this.count) this.make(node);
      }
    }
    return this.places;
  }

  /** Puts the inputs of each node in the order in which they are to be made. */
  private sortInputs(): void {
    const { deps, offsets } = this;
    const alive = new Int32Array(this.count);
    const before = (a: number, b: number): number => alive[b]! - alive[a]! || a - b;
    for (let i = 0; i < this.count; i++) {
      const from = offsets[i]!;
      const to = offsets[i + 1]!;
      if (to - from > 1) deps.subarray(from, to).sort(before);
      let most = 1;
      for (let at = from; at < to; at++) most = Math.max(most, alive[deps[at]!]! + at - from);
      alive[i] = most;
    }
  }

  /** Runs a node, and before it all of its inputs that have not run. */
  private make(goal: number): void {
    if (this.places[goal] !== -1) return;
    const stack = [goal];
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      if (this.places[node] !== -1 || this.missing[node] === 0) {
        stack.pop();
        this.runNow(node);
        continue;
      }
      const dep = this.deps[this.cursor[node]!++]!;
      if (this.places[dep] === -1) stack.push(dep);
    }
  }

  /** Runs a node that is ready, then all that this makes ready and that sets an input free. */
  private runNow(first: number): void {
    const ready = [first];
    for (let node = ready.pop(); node !== undefined; node = ready.pop()) {
      if (this.places[node] !== -1) continue;
      this.places[node] = this.next++;
      for (let at = this.offsets[node]!; at < this.offsets[node + 1]!; at++) {
        this.needs[this.deps[at]!]!--;
      }
      for (let at = this.outOffsets[node + 1]! - 1; at >= this.outOffsets[node]!; at--) {
        const dependent = this.out[at]!;
        const missing = --this.missing[dependent]!;
        if (missing === 0 && this.setsFree(dependent)) ready.push(dependent);
        else this.begun.push(missing * this.count + dependent);
      }
    }
  }

  private setsFree(node: number): boolean {
    for (let at = this.offsets[node]!; at < this.offsets[node + 1]!; at++) {
      if (this.needs[this.deps[at]!] === 1) return true;
    }
    return false;
  }
}
