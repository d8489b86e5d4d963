/**
 * One colour a function, the same in every panel, progress bar and run.
 *
 * The ramp is Okabe and Ito's, which people with any colour vision tell apart, less the two that
 * mean something here: black is for failure and vermillion for transfer. A name is hashed to its
 * place in the ramp; when another name sits there already the next free place is taken, and when
 * all base colours are in use, a lighter or darker shade.
 */

/** Base colours as 0xRRGGBB: blue, orange, green, purple, sky, yellow. */
const BASE = [0x0072b2, 0xe69f00, 0x009e73, 0xcc79a7, 0x56b4e9, 0xf0e442] as const;

/** Factor toward white (> 0) or black (< 0) of the further tiers. */
const TIERS = [0, -0.35, 0.4] as const;

/** Every colour a function can have, base colours first. */
export const RAMP: readonly number[] = TIERS.flatMap(tier =>
  BASE.map(colour => shade(colour, tier))
);

/** Means transfer between workers. */
export const TRANSFER_COLOUR = 0xd55e00;
/** Means disk: spilling and reading back. */
export const DISK_COLOUR = 0x999999;
/** Means failure. */
export const ERRED_COLOUR = 0x000000;

/** Moves a colour toward white (positive) or black (negative) by a share of the way. */
export function shade(colour: number, amount: number): number {
  const target = amount > 0 ? 255 : 0;
  const share = Math.abs(amount);
  const mix = (channel: number): number => Math.round(channel + (target - channel) * share);
  const red = mix((colour >> 16) & 255);
  const green = mix((colour >> 8) & 255);
  const blue = mix(colour & 255);
  return (red << 16) | (green << 8) | blue;
}

/** `#0072b2` */
export function toCss(colour: number): string {
  return `#${colour.toString(16).padStart(6, '0')}`;
}

/** 32-bit FNV-1a over UTF-16 units: stable over runs, machines and languages that repeat it. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash ^= name.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193);
  }
  // FNV's low bits alone spread short names badly over six places.
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** Gives names their colours; one instance serves a whole page, so that panels agree. */
export class Palette {
  readonly #places = new Map<string, number>();
  readonly #taken = new Uint8Array(RAMP.length);

  /** 0xRRGGBB of a function. The first call for a name decides. */
  colourOf(name: string): number {
    let place = this.#places.get(name);
    if (place === undefined) {
      place = this.#choose(name);
      this.#places.set(name, place);
      this.#taken[place] = 1;
    }
    return RAMP[place] ?? BASE[0];
  }

  /** As `colourOf`, for CSS. */
  cssOf(name: string): string {
    return toCss(this.colourOf(name));
  }

  #choose(name: string): number {
    const hash = hashName(name);
    for (let tier = 0; tier < TIERS.length; tier++) {
      for (let step = 0; step < BASE.length; step++) {
        const place = tier * BASE.length + ((hash + step) % BASE.length);
        if (this.#taken[place] === 0) return place;
      }
    }
    return hash % RAMP.length;
  }
}
