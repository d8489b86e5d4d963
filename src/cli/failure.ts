/**
 * How commands end: a sentence for people on standard error and a code for scripts.
 */

import { ConfigError } from '../base/errors.ts';

/** The arguments are wrong: exit code 2, as for those that the parser refuses. */
export class UsageError extends ConfigError {}

/** What happened, without a stack: errors of ours are whole sentences. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Prints the error and sets the exit code. A stack is shown only for defects of ours. */
export function fail(error: unknown): void {
  const known = typeof (error as { code?: unknown } | null)?.code === 'string';
  const stack = error instanceof Error && !known ? `\n${error.stack ?? ''}` : '';
  process.stderr.write(`taskloom: ${messageOf(error)}${stack}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

/** Where the lines of logs go. */
export function toStderr(line: string): void {
  process.stderr.write(`${line}\n`);
}
