/**
 * What one seed is about: how large the cluster is, how it is configured, which faults there are
 * and how often, what users like to do. Each seed leaves out some faults and activities and has
 * much of others, so that rare ones meet in many ways.
 */
import type { Rng } from '../../src/base/rng.ts';
import { DEFAULT_OPTIONS } from '../../src/scheduler/state/state.ts';

export interface Plan {
  nannies: number;
  /** Workers of each nanny at the start. */
  workers: number;
  clients: number;
  threadsMost: number;
  /** Bytes of each worker; 0 = no limit. */
  memoryLimit: number;
  /** Of each worker's disk: bytes, 0 = endless; how slow it is; chance that a file is unreadable. */
  diskBytes: number;
  diskSlowness: number;
  diskErrors: number;
  /** Bytes that a worker may have on disk; 0 = all that fits. */
  maxSpill: number;
  /** ms in which users act and faults happen. */
  span: number;
  /** Things that users do, and faults of processes and networks. */
  actions: number;
  faults: number;
  /** Chances: of a frame to be lost; of a peer to be busy, to lie, to end in mid-answer. */
  loss: number;
  /** Workers and clients dial a lost scheduler again, and it is started again when it dies. */
  reconnects: boolean;
  busy: number;
  lies: number;
  torn: number;
  scheduler: typeof DEFAULT_OPTIONS;
  /** How much users like each activity, and how often each fault comes; by name. */
  weights: Map<string, number>;
}

export function makePlan(rng: Rng, names: readonly string[]): Plan {
  const often = (chance: number, value: number): number => (rng.chance(chance) ? value : 0);
  const plan: Plan = {
    nannies: rng.integer(1, 2),
    workers: rng.integer(1, 3),
    clients: rng.integer(1, 3),
    threadsMost: rng.integer(1, 3),
    memoryLimit: often(0.4, 4_000_000),
    diskBytes: often(0.3, 2_000_000),
    diskSlowness: rng.pick([1, 1, 5, 40]),
    diskErrors: often(0.2, 0.1),
    maxSpill: often(0.15, 1_500_000),
    span: rng.integer(200, 1500),
    actions: rng.integer(4, 16),
    faults: rng.integer(0, 6),
    reconnects: rng.chance(0.5),
    loss: often(0.25, 0.004),
    busy: often(0.5, 0.2),
    lies: often(0.35, 0.2),
    torn: often(0.4, 0.08),
    scheduler: {
      ...DEFAULT_OPTIONS,
      workerSaturation: rng.pick([1.1, 1.1, 1, 2]),
      allowedFailures: rng.pick([0, 1, 3, 3]),
      noWorkersTimeout: often(0.2, 1500),
      ammInterval: rng.pick([100, 500, 2000]),
      stealInterval: rng.pick([0, 100, 250, 1000]),
      clientGrace: 1000,
      recoveredGrace: 3000,
      storyLines: 1000,
      streamLines: 16
    },
    weights: new Map()
  };
  for (const name of names) plan.weights.set(name, often(0.7, 0.2 + rng.next()));
  return plan;
}

/** One entry of a table of what can happen. */
export interface Choice<T> {
  name: string;
  /** How often it comes beside the others. */
  weight: number;
  run: (subject: T) => void;
}

/** One of them, by their weights in this run; null when all of them are left out. */
export function choose<T>(rng: Rng, plan: Plan, choices: readonly Choice<T>[]): Choice<T> | null {
  const weight = (choice: Choice<T>): number =>
    choice.weight * (plan.weights.get(choice.name) ?? 0);
  let at = rng.next() * choices.reduce((sum, choice) => sum + weight(choice), 0);
  for (const choice of choices) {
    at -= weight(choice);
    if (at < 0) return choice;
  }
  return null;
}
