/**
 * How commands end: a sentence for people on standard error and a code for scripts.
 */

/** What happened, without a stack: errors of ours are whole sentences. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Prints the error and sets exit code 1. A stack is shown only for defects of ours. */
export function fail(error: unknown): void {
  const known = typeof (error as { code?: unknown } | null)?.code === 'string';
  const stack = error instanceof Error && !known ? `\n${error.stack ?? ''}` : '';
  process.stderr.write(`taskloom: ${messageOf(error)}${stack}\n`);
  process.exitCode = 1;
}
