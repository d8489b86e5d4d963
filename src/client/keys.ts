/** Names of tasks and values on the cluster. */
import { randomBytes } from 'node:crypto';
import type { Future } from './future.ts';

/** Makes keys of this process unlike those of others. */
const KEY_SALT = randomBytes(4).toString('hex');
let nextKey = 0;

/** A key that nobody else has. */
export function newKey(name: string): string {
  return `${name}-${KEY_SALT}-${nextKey++}`;
}

/** Names of tasks, from the name of their function or as `given`. */
export function keysFor(
  given: string | undefined,
  name: string,
  count: number,
  isMap: boolean
): string[] {
  if (given !== undefined) {
    return isMap ? Array.from({ length: count }, (_, i) => `${given}-${i}`) : [given];
  }
  if (!isMap) return [newKey(name)];
  const group = `${name}-${KEY_SALT}m${nextKey++}`;
  return Array.from({ length: count }, (_, i) => `${group}-${i}`);
}

/** The key of a future, or one that is given as such. */
export function keyOf(key: Future | string): string {
  return typeof key === 'string' ? key : key.key;
}
