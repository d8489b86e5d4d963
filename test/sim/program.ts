/**
 * What the simulated tasks compute. A task's arguments say how it behaves; its value is a hash of
 * its key and its inputs' values, so that a wrong or stale input shows in every result after it.
 */

export interface Behaviour {
  /** Throws this many times before it succeeds; Infinity: always. */
  failures: number;
  /** ms of virtual time. */
  duration: number;
  nbytes: number;
}

export function encodeBehaviour(behaviour: Behaviour): Uint8Array {
  return new TextEncoder().encode(
    JSON.stringify({ ...behaviour, failures: Math.min(behaviour.failures, 1e9) })
  );
}

export function decodeBehaviour(args: Uint8Array): Behaviour {
  return JSON.parse(new TextDecoder().decode(args)) as Behaviour;
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
