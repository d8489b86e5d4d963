/**
 * What this process knows about functions it has rebuilt or shipped before.
 *
 * A rebuilt function carries its origin, so that it can be sent on without an inspector. A class is
 * known by a digest on every process it has been to: an instance (or error) that comes back is an
 * instance of the class it left as, and `instanceof` holds.
 */
import { sharedTable } from '../base/task-context.ts';
import type { FreeName } from './analyze.ts';

/** Where the first character of a source stands. */
export interface Location {
  url: string;
  line: number;
  column: number;
}

/** All that makes a function again, besides the values it captures. */
export interface Blueprint {
  isClass: boolean;
  name: string;
  expression: string;
  prefix: number;
  /** `import.meta` of the module it was written in; '' when it does not use it. */
  metaUrl: string;
  /** Captured names, those a class needs at its definition first. */
  names: readonly string[];
  early: number;
  /** Names it assigns. */
  assigned: readonly string[];
  privateMembers: boolean;
  location: Location;
}

/** A function rebuilt here: its blueprint and the present values of its names. */
export interface Origin {
  blueprint: Blueprint;
  values: () => readonly unknown[];
  digest: string;
}

/** The origin of functions rebuilt here. */
export const origins = sharedTable('origins', () => new WeakMap<Function, Origin>());

const classes = sharedTable('classes', () => new Map<string, WeakRef<Function>>());
const digests = sharedTable('digests', () => new WeakMap<Function, string>());
const forget = new FinalizationRegistry<string>(digest => {
  if (classes.get(digest)?.deref() === undefined) classes.delete(digest);
});

/** Remembers that a live class goes by this digest. */
export function registerClass(digest: string, type: Function): void {
  if (digests.get(type) === digest) return;
  digests.set(type, digest);
  classes.set(digest, new WeakRef(type));
  forget.register(type, digest);
}

/** The live class of a digest, if this process has it. */
export function classOf(digest: string): Function | undefined {
  return classes.get(digest)?.deref();
}

/** Splits the free names of an analysis into what a blueprint records. */
export function orderNames(captured: readonly FreeName[]): {
  names: string[];
  early: number;
  assigned: string[];
} {
  const early = captured.filter(free => free.early).map(free => free.name);
  const late = captured.filter(free => !free.early).map(free => free.name);
  const assigned = captured.filter(free => free.assigned).map(free => free.name);
  return { names: [...early, ...late], early: early.length, assigned };
}
