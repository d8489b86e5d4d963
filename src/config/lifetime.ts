/**
 * How long a worker lives: so that batch systems find it gone before they would kill it, and so
 * that memory which others leak does not add up for ever.
 */
import { ConfigError } from '../base/errors.ts';
import { parseDuration } from './duration.ts';

/** What people ask for: seconds, or text such as "6 h". */
export interface LifetimeWishes {
  /** After which a worker leaves the cluster in order. Default 0: never. */
  lifetime?: number | string | undefined;
  /** Workers live up to so much shorter or longer, each by chance, not to leave all at once. Default 0. */
  lifetimeStagger?: number | string | undefined;
  /** Start it anew when it has left. Default false. */
  lifetimeRestart?: boolean | undefined;
}

/** The same in ms, as it travels to workers. */
export interface LifetimeShape {
  lifetimeMs: number;
  staggerMs: number;
  restart: boolean;
}

/** Throws ConfigError when the wishes make no sense; undefined when a worker lives for ever. */
export function lifetimeShape(wishes: LifetimeWishes): LifetimeShape | undefined {
  const lifetimeMs = parseDuration(wishes.lifetime ?? 0);
  const staggerMs = parseDuration(wishes.lifetimeStagger ?? 0);
  const restart = wishes.lifetimeRestart === true;
  if (lifetimeMs === 0) {
    if (staggerMs === 0 && !restart) return undefined;
    throw new ConfigError(
      'lifetimeStagger and lifetimeRestart say something only with a lifetime.'
    );
  }
  if (staggerMs < lifetimeMs) return { lifetimeMs, staggerMs, restart };
  throw new ConfigError(
    `A lifetime of ${wishes.lifetime} cannot be staggered by ${wishes.lifetimeStagger}: some workers would ` +
      `live for no time at all.`
  );
}

/** ms that one worker lives; `chance` is from [0, 1). */
export function lifetimeOf({ lifetimeMs, staggerMs }: LifetimeShape, chance: number): number {
  return lifetimeMs + (2 * chance - 1) * staggerMs;
}
