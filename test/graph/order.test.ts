import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { staticOrder } from '../../src/graph/order.ts';
import type { Graph } from '../../src/graph/order.ts';

/** A graph by the inputs of each node. */
function graph(...inputs: number[][]): Graph {
  const offsets = [0];
  for (const row of inputs) offsets.push((offsets.at(-1) ?? 0) + row.length);
  return { offsets, deps: inputs.flat() };
}

function inputsOf({ offsets, deps }: Graph, node: number): readonly number[] {
  return deps.slice(offsets[node], offsets[node + 1]);
}

/** Nodes in the order in which they run. */
function sequence(of: Graph): number[] {
  const count = of.offsets.length - 1;
  const places = staticOrder(of) ?? Array.from({ length: count }, (_, i) => i);
  const nodes: number[] = [];
  places.forEach((place, node) => (nodes[place] = node));
  return nodes;
}

/** The most intermediate values alive at once; results are taken away when they are there. */
function mostAlive(of: Graph, nodes: readonly number[]): number {
  const needs = new Map<number, number>();
  for (const dep of of.deps) needs.set(dep, (needs.get(dep) ?? 0) + 1);
  const alive = new Set<number>();
  let most = 0;
  for (const node of nodes) {
    for (const dep of inputsOf(of, node)) expect(alive.has(dep)).toBe(true);
    alive.add(node);
    most = Math.max(most, alive.size);
    if (needs.get(node) === undefined) alive.delete(node);
    for (const dep of inputsOf(of, node)) {
      const left = (needs.get(dep) ?? 0) - 1;
      needs.set(dep, left);
      if (left === 0) alive.delete(dep);
    }
  }
  return most;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const rows = (n: number, row: (i: number) => number[]): number[][] => range(n).map(row);

/** `n` loads, one step on each, as users write it: all loads first. */
const chains = graph(...rows(50, () => []), ...rows(50, i => [i]));
const chainsAndSum = graph(
  ...rows(50, () => []),
  ...rows(50, i => [i]),
  range(50).map(i => 50 + i)
);
/** 64 leaves, level by level. */
const tree = graph(...rows(64, () => []), ...rows(63, i => [2 * i, 2 * i + 1]));
/** 0 on one side, a tree of four leaves on the other. */
const lopsided = graph([], [], [], [1, 2], [], [], [4, 5], [3, 6], [0, 7]);
const diamond = graph([], [0], [0], [1, 2]);
/** Two shared inputs, results that use one or the other in turn. */
const shared = graph([], [], ...rows(40, i => [i % 2]));
/** y = neighbours of x, one sum. */
const stencil = graph(
  ...rows(40, () => []),
  ...rows(38, i => [i, i + 1, i + 2]),
  range(38).map(i => 40 + i)
);
/** Four sums of 16 loads each, submitted side by side. */
const groups = graph(...rows(64, () => []), ...rows(4, group => range(16).map(i => 4 * i + group)));
/** Loads used by two results each, the second far from the first in submission. */
const pairs = graph(...rows(30, () => []), ...rows(30, i => [i]), ...rows(30, i => [29 - i]));

describe('static order keeps few values alive', () => {
  it.each([
    ['chains', chains, 2],
    ['chains and a sum', chainsAndSum, 51],
    ['a tree, depth first', tree, 8],
    ['a lopsided tree, the deep side first', lopsided, 4],
    ['a diamond', diamond, 3],
    ['shared inputs, one after the other', shared, 2],
    // Three loads and, towards the sum, the steps that have been made.
    ['a stencil', stencil, 41],
    ['groups, one after the other', groups, 17],
    ['inputs of two results, let go of after the second', pairs, 2]
  ])('%s', (_name, of, most) => {
    expect(mostAlive(of, sequence(of))).toBeLessThanOrEqual(most);
  });

  it('needs far more in the order of submission', () => {
    const asSubmitted = (of: Graph): number => mostAlive(of, range(of.offsets.length - 1));
    expect([chains, tree, groups, pairs].map(asSubmitted)).toEqual([51, 65, 65, 31]);
  });
});

it('says nothing when tasks are in the best order already', () => {
  expect(staticOrder(graph([], [0], [], [2], [1, 3]))).toBe(null);
  expect(staticOrder(graph())).toBe(null);
});

it('runs every node once, after its inputs', () => {
  const inputs = fc.array(fc.array(fc.nat(), { maxLength: 4 }), { maxLength: 60 });
  fc.assert(
    fc.property(inputs, some => {
      const of = graph(...some.map((row, i) => (i === 0 ? [] : row.map(dep => dep % i))));
      const nodes = sequence(of);
      expect([...nodes].sort((a, b) => a - b)).toEqual(range(some.length));
      const at = new Map(nodes.map((node, place) => [node, place]));
      for (const node of nodes) {
        for (const dep of inputsOf(of, node)) expect(at.get(dep)).toBeLessThan(at.get(node) ?? -1);
      }
    }),
    { seed: 11, numRuns: 500 }
  );
});
