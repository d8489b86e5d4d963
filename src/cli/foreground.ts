/**
 * A command that runs until somebody ends it: Ctrl-C and SIGTERM close in order and exit with 0, a
 * second one ends at once with 130 or 143. When it ends by itself, that is a failure.
 */

/** Something that runs until it is closed. */
export interface Running {
  readonly finished: Promise<string>;
  close(reason: string): Promise<void>;
}

/** How SIGTERM ends it, when not by `close`. */
type Drain = (reason: string) => Promise<void>;

/** Waits for the end and sets the exit code. */
export async function runToEnd(running: Running, drain?: Drain): Promise<void> {
  let asked = false;
  const end = (signal: 'SIGINT' | 'SIGTERM', code: number): void => {
    if (asked) process.exit(code);
    asked = true;
    process.stderr.write(`${signal === 'SIGINT' ? '\n' : ''}Closing; once more to end at once.\n`);
    if (signal === 'SIGINT') void running.close('ended by Ctrl-C');
    else void (drain ?? running.close.bind(running))('ended by SIGTERM');
  };
  process.on('SIGINT', () => end('SIGINT', 130));
  process.on('SIGTERM', () => end('SIGTERM', 143));
  // A promise alone does not keep a process running.
  const alive = setInterval(() => undefined, 1 << 30);
  const reason = await running.finished;
  clearInterval(alive);
  if (!asked) process.stderr.write(`taskloom: it ended: ${reason}\n`);
  process.exit(asked || CLOSED_BY_REQUEST.test(reason) ? 0 : 1);
}

/** Reasons that somebody gave on purpose, in the sidebar or by `cluster stop`. */
const CLOSED_BY_REQUEST = /^(stopped|closed) (by|in) /;
