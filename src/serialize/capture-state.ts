/** What one capture knows while it writes, and how it refuses. */
import { analyze } from './analyze.ts';
import type { Analysis } from './analyze.ts';
import type { Encoder } from './encode.ts';
import type { Location } from './provenance.ts';
import { Refusal } from './refusal.ts';
import type { Level, Surroundings } from './scopes.ts';

/** What one capture knows while it writes. */
export interface CaptureState {
  /** Surroundings found so far, by function; kept from pass to pass. */
  found: Map<Function, Surroundings>;
  /** Variables of modules and notebooks already read in this capture, by script. */
  modules: Map<string, Level>;
  /** Functions whose names were read from the global scope without a check (Deno). */
  unchecked: Function[];
  /** The first name that could not be found among them. */
  missing: unknown;
  sources: Map<string, number>;
  locations: Location[];
  /** Whether anything captured could change before the next call. */
  captured: boolean;
  /** Who uses and who assigns each variable, to refuse state shared by two functions. */
  shared: Map<string, { users: Set<string>; writers: Set<string>; value: unknown }>;
  digesting: boolean;
}

/** A fresh state; `found` may come from an earlier pass. */
export function newState(found = new Map<Function, Surroundings>()): CaptureState {
  return {
    found,
    modules: new Map(),
    unchecked: [],
    missing: undefined,
    sources: new Map(),
    locations: [],
    captured: false,
    shared: new Map(),
    digesting: false
  };
}

/** The state that goes with an encoder. */
export function stateOf(encoder: Encoder): CaptureState {
  encoder.capture ??= newState();
  return encoder.capture as CaptureState;
}

/** What a function is called in messages. */
export function describe(fn: Function): string {
  const kind = /^class\b/.test(Function.prototype.toString.call(fn)) ? 'class' : 'function';
  return fn.name === '' ? `an unnamed ${kind}` : `${kind} ${fn.name}`;
}

/** The refusal of a function, for a reason it gives itself. */
export function refuse(fn: Function, what: string, remedy: string): Refusal {
  return new Refusal(fn, `${describe(fn)} (${what})`, remedy);
}

/** The analysis of a function's source, or the refusal of what it says cannot travel. */
export function analysisOf(fn: Function): Analysis {
  let analysis: Analysis;
  try {
    analysis = analyze(Function.prototype.toString.call(fn));
  } catch (error) {
    const why = `its source cannot be read as a module's code: ${(error as Error).message}`;
    throw refuse(fn, why, 'Write it as a plain function, in strict mode.');
  }
  if (analysis.obstacle !== undefined) {
    const [what, remedy] = analysis.obstacle.split('; ', 2) as [string, string];
    throw refuse(fn, what, `${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`);
  }
  return analysis;
}
