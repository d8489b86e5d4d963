/**
 * Notices a peer that is gone without a word: its machine lost power, or the network between went.
 * Such a socket stays open for the operating system, for as long as nobody says anything on it.
 *
 * Both ends ping. Each beat looks whether any byte has come since the last one; so many beats in a
 * row without one, and the link counts as lost. Beats are counted rather than time, because a
 * process that was suspended finds its timer due before it has read what came meanwhile: that is
 * one silent beat, not an hour of silence.
 */
import { LIMITS } from '../protocol/limits.ts';
import type { Wire } from './wire.ts';

export interface KeepAliveOptions {
  /** ms between pings. Default LIMITS.keepAliveMs. */
  pingMs?: number;
  /**
   * ms without a byte after which the peer counts as gone; default LIMITS.silenceMs. Infinity where
   * a peer may rightly be silent for long, as a notebook whose cell computes: then only the
   * operating system, which still answers for it, tells a gone peer from a busy one.
   */
  silenceMs?: number;
}

/** Watches an open wire until the returned function is called; `onSilent` is called at most once. */
export function keepAlive(
  wire: Wire,
  onSilent: (reason: string) => void,
  options: KeepAliveOptions = {}
): () => void {
  const pingMs = options.pingMs ?? LIMITS.keepAliveMs;
  const silenceMs = options.silenceMs ?? LIMITS.silenceMs;
  const beats = silenceMs / pingMs;
  let silent = 0;
  let heard = -1;
  const timer = setInterval(() => {
    // A large frame on its way is heard of by its bytes, long before it is whole.
    silent = wire.heard === heard ? silent + 1 : 0;
    heard = wire.heard;
    if (silent >= beats) {
      clearInterval(timer);
      onSilent(`nothing was heard of the peer for ${Math.round((silent * pingMs) / 100) / 10} s`);
    } else if (wire.isOpen) wire.ping();
  }, pingMs);
  timer.unref?.();
  return () => clearInterval(timer);
}
