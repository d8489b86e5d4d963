/**
 * What the simulated tasks compute. A task's arguments say how it behaves; its value is a hash of
 * its key and its inputs' values, so that a wrong or stale input shows in every result after it.
 */

export interface Behaviour {
  /** Throws this many times before it succeeds; NEVER: always. */
  failures: number;
  /** ms of virtual time. */
  duration: number;
  nbytes: number;
  /** Secedes after half of its time. */
  secedes: boolean;
  /** Asks this many times to be run elsewhere. */
  reschedules: number;
  /** Ends its executor thread, as process.exit() does. */
  exits: boolean;
  /** Takes its worker's process down this many times. */
  kills: number;
}

/** More often than anything is tried. */
export const NEVER = 1e9;

export const PLAIN: Behaviour = {
  failures: 0,
  duration: 10,
  nbytes: 100,
  secedes: false,
  reschedules: 0,
  exits: false,
  kills: 0
};

const FIELDS = Object.keys(PLAIN) as (keyof Behaviour)[];

/** As doubles: the same bytes on every machine, and quick to read. */
export function encodeBehaviour(behaviour: Behaviour): Uint8Array {
  return new Uint8Array(Float64Array.from(FIELDS, field => Number(behaviour[field])).buffer);
}

export function decodeBehaviour(args: Uint8Array): Behaviour {
  const [failures = 0, duration = 0, nbytes = 0, secedes, reschedules = 0, exits, kills = 0] =
    new Float64Array(new Uint8Array(args).buffer);
  return {
    failures,
    duration,
    nbytes,
    secedes: secedes === 1,
    reschedules,
    exits: exits === 1,
    kills
  };
}

/** FNV-1a over text. */
export function hashText(text: string, start = 0x811c9dc5): number {
  let hash = start;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

export function valueOf(key: string, inputs: readonly number[]): number {
  return hashText(`${key}(${inputs.join()})`);
}

/** A small value as it travels along with messages. */
export function packValue(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

export function unpackValue(bytes: Uint8Array): number {
  return new Uint32Array(new Uint8Array(bytes).buffer)[0] as number;
}
