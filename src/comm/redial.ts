/**
 * What links that outlive their scheduler share: the wait for its hello, which closes are no
 * farewell, and dialling again with growing pauses until it answers, is known to be gone, or the
 * time is over. What a lost link means, and which errors are final, its owner says.
 */
import { TimeoutError } from '../base/errors.ts';
import { CLOSE, LIMITS } from '../protocol/limits.ts';

/** ms before the first redial; doubles each time. */
export const REDIAL_MS = 100;
const REDIAL_MOST_MS = 2000;
/** ms for which a lost scheduler is dialled again, unless its owner says otherwise. */
export const RECONNECT_MS = 60_000;

/** Closes after which the scheduler may be there again, or another in its place. */
export const BROKEN: ReadonlySet<number> = new Set([
  1006,
  CLOSE.unresponsive,
  CLOSE.handshakeTimeout
]);

/** The scheduler's hello, while a link is being opened. */
export class AwaitedHello {
  /** Settles with the first of `welcome` and `refuse`. */
  readonly said: Promise<void>;
  welcome: () => void = () => undefined;
  refuse: (error: Error) => void = () => undefined;

  constructor() {
    this.said = new Promise<void>((resolve, reject) => {
      this.welcome = resolve;
      this.refuse = reject;
    });
    // The dial may fail first: then nobody waits for the hello.
    this.said.catch(() => undefined);
  }

  /** Refuses with `late`, and tells, unless it comes within the time of a handshake. */
  limit(late: string, act: () => void): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      this.refuse(new TimeoutError(late));
      act();
    }, LIMITS.handshakeMs);
  }
}

interface RedialOptions {
  /** Opens the link; resolves when the scheduler has said hello. */
  open(): Promise<void>;
  /** It is open again. */
  onBack?(): void;
  /** An attempt failed, `late`: the last one. True when it is given up. */
  givesUp(error: unknown, late: boolean): boolean;
  /** Longest pause, ms. Default 2000. */
  mostMs?: number;
}

/** Dials again and again. */
export class Redial {
  private readonly options: RedialOptions;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private awake = true;
  private ended = false;

  constructor(options: RedialOptions) {
    this.options = options;
  }

  /** The link is lost: dials for so many ms. */
  start(limitMs: number): void {
    this.later(REDIAL_MS, performance.now() + limitMs);
  }

  /** Whether the process stays up for it. */
  keepsAlive(keep: boolean): void {
    this.awake = keep;
    if (keep) this.timer?.ref?.();
  }

  /** It is not dialled any more. */
  end(): void {
    this.ended = true;
    if (this.timer !== null) clearTimeout(this.timer);
  }

  private later(pauseMs: number, until: number): void {
    if (this.ended) return;
    this.timer = setTimeout(() => void this.attempt(pauseMs, until), pauseMs);
    if (!this.awake) this.timer.unref?.();
  }

  private async attempt(pauseMs: number, until: number): Promise<void> {
    const { open, onBack, givesUp, mostMs = REDIAL_MOST_MS } = this.options;
    try {
      await open();
    } catch (error) {
      if (!givesUp(error, performance.now() >= until)) {
        this.later(Math.min(2 * pauseMs, mostMs), until);
      }
      return;
    }
    onBack?.();
  }
}
