/** A module of the user's own, beside the script that uses it. */
export const settings = { name: 'mine', scale: 3 };

/** Uses a name of this module, not of the importing one. */
export function scaled(n: number): number {
  return n * settings.scale;
}

/** A class with a type-only part. */
export class Shape {
  readonly side: number;
  constructor(side: number) {
    this.side = side;
  }
  area(): number {
    return this.side ** 2;
  }
}
