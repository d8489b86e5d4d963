/**
 * What is told of an exception: its text and traceback for people, the exception itself, serialised,
 * for programs. Bounded, and it never fails: what cannot be serialised loses its own fields, then
 * its causes.
 */
import { SerializationError, TaskloomError } from '../../base/errors.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { packFrames, serializeValue } from '../../serialize/value.ts';
import type { Failure } from './messages.ts';

/** Frames of ours and of Node's own code. */
const INTERNAL = /node:internal|worker[\\/]executor[\\/]|dist[\\/]executor\.mjs/;

/** The user's own exception, thrown by a task. */
export function userFailure(thrown: unknown): Failure {
  return {
    code: 'TASK_ERRED',
    message: describe(thrown),
    traceback: traceback(thrown),
    exception: serialised(thrown)
  };
}

/** An error of ours on the way to or from the task: its code stays. */
export function ownFailure(error: unknown, what: string): Failure {
  const code = error instanceof TaskloomError ? error.code : 'INTERNAL';
  const name = error instanceof Error ? error.name : 'Error';
  const text = `${what}: ${error instanceof Error ? error.message : String(error)}`;
  return {
    code,
    message: cut(`${name}: ${text}`),
    traceback: code === 'INTERNAL' ? traceback(error) : '',
    exception: serialised(code === 'SERIALIZATION' ? new SerializationError(text) : error)
  };
}

function describe(thrown: unknown): string {
  try {
    if (thrown instanceof Error) {
      const text = `${thrown.name}: ${thrown.message}`;
      return cut(thrown.message === '' ? thrown.name : text);
    }
    if (typeof thrown === 'object' && thrown !== null) {
      return cut(`An object was thrown, not an Error: ${JSON.stringify(thrown)}`);
    }
    return cut(`${typeof thrown} was thrown, not an Error: ${String(thrown)}`);
  } catch {
    return 'Something was thrown that cannot be put into words';
  }
}

/** The stack with causes, without our own lines, as Node prints it. */
function traceback(thrown: unknown): string {
  const parts: string[] = [];
  const seen = new Set<unknown>();
  try {
    for (let at = thrown; at instanceof Error && !seen.has(at); at = at.cause) {
      seen.add(at);
      const lines = String(at.stack ?? `${at.name}: ${at.message}`).split('\n');
      const shown = lines.filter(line => !(/^\s+at /.test(line) && INTERNAL.test(line)));
      parts.push((parts.length === 0 ? '' : 'Caused by: ') + shown.join('\n'));
    }
  } catch {
    // A stack getter of the user's that throws: the lines before it must do.
  }
  return cut(parts.join('\n'));
}

function cut(text: string): string {
  const most = LIMITS.tracebackChars;
  return text.length <= most ? text : `${text.slice(0, most)}… (${text.length} characters in all)`;
}

function serialised(thrown: unknown): Uint8Array | null {
  for (const form of [() => thrown, () => reduced(thrown)]) {
    try {
      const bytes = packFrames(serializeValue(form(), { root: 'error' }));
      if (bytes.length <= LIMITS.exceptionBytes) return bytes;
    } catch {
      // The next, simpler form.
    }
  }
  return null;
}

/** Name, message and stack of an Error, the text of anything else. */
function reduced(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return describe(thrown);
  const error = new Error(cut(thrown.message));
  error.name = thrown.name;
  error.stack = cut(String(thrown.stack));
  return error;
}
