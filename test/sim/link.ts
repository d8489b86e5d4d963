/**
 * A control link between two processes, as a WebSocket over TCP is one: frames of one direction
 * arrive whole and in order, late by chance. A frame that is lost ends the link. A broken link
 * carries nothing any more, and each side notices that in its own time: until then one may think
 * the other gone while the other thinks it alive.
 */
import type { Cluster } from './cluster.ts';
import { copyMessage } from './messages.ts';
import type { World } from './world.ts';

/** What one side does with what comes. */
export interface LinkEnd {
  receive(messages: { op: string }[]): void;
  closed(reason: string): void;
}

/** ms within which a side notices that a broken link is dead (keep-alives). */
const NOTICE_MS = 3000;

export class Link {
  private readonly world: World;
  private readonly ends: [LinkEnd | null, LinkEnd | null];
  private readonly arrivals: [number, number] = [0, 0];
  private broken = false;
  /** Chance that a frame is lost. */
  private readonly loss: number;

  constructor(world: World, loss: number, first: LinkEnd) {
    this.world = world;
    this.loss = loss;
    this.ends = [first, null];
  }

  /** The side that was dialled. */
  accept(second: LinkEnd): void {
    this.ends[1] = second;
  }

  /** Sends what one turn of `from` has to say. Nothing happens on a link that `from` saw close. */
  send(from: 0 | 1, messages: { op: string }[]): void {
    const { world } = this;
    if (this.ends[from] === null || this.broken || messages.length === 0) return;
    if (world.faulty && this.loss > 0 && world.rng.chance(this.loss)) {
      world.note('*', 'FAULT a frame is lost');
      return this.break();
    }
    const copies = messages.map(copyMessage);
    this.inOrder(from, () => {
      if (!this.broken) this.ends[1 - from]?.receive(copies);
    });
  }

  private inOrder(from: 0 | 1, run: () => void): void {
    const { world } = this;
    const slow = world.faulty && world.rng.chance(0.04) ? world.rng.integer(20, 250) : 0;
    const at = Math.max(world.now + world.soon(4) + slow, this.arrivals[from] + 0.001);
    this.arrivals[from] = at;
    world.after(at - world.now, run);
  }

  /** Nothing gets through for a while, then all of it: one way, or both. */
  stall(ms: number, sides: readonly (0 | 1)[]): void {
    for (const side of sides) {
      this.arrivals[side] = Math.max(this.arrivals[side], this.world.now + ms);
    }
  }

  /** `from` closes it, or its process ends: what it has sent arrives before the other side sees that. */
  close(from: 0 | 1, reason: string): void {
    if (this.ends[from] === null) return;
    this.ends[from] = null;
    if (this.broken) return;
    this.inOrder(from, () => {
      if (!this.broken) this.endSide(from === 0 ? 1 : 0, reason);
    });
  }

  /** The network between the two is cut for good. */
  break(): void {
    if (this.broken) return;
    this.broken = true;
    for (const side of [0, 1] as const) {
      this.world.after(this.world.soon(NOTICE_MS), () => this.endSide(side, 'connection lost'));
    }
  }

  private endSide(side: 0 | 1, reason: string): void {
    const end = this.ends[side];
    this.ends[side] = null;
    end?.closed(reason);
  }
}

/** Dials a scheduler that was lost, when it is there again and whoever dials still is. */
export function redialLater(cluster: Cluster, isAlive: () => boolean, dial: () => void): void {
  const { world } = cluster;
  world.after(50 + world.soon(200), () => {
    if (!isAlive()) return;
    if (cluster.scheduler.alive) dial();
    else redialLater(cluster, isAlive, dial);
  });
}
