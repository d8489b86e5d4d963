/**
 * What stands between the two languages of executors: a task whose language the worker does not
 * run, and an input that only the other language can read. Such a task fails without having run.
 */
import type { Language } from '../../protocol/messages.ts';
import type { Family } from '../../serialize/value.ts';
import type { Failure } from './messages.ts';

const RETURN_FROM_TYPESCRIPT =
  'Let the TypeScript task return plain data (null, booleans, numbers, strings, Uint8Array, arrays, ' +
  'objects with string keys), a typed array, an NdArray or an ArrowData.';
const RETURN_FROM_PYTHON =
  'Let the Python task return plain data (None, bool, int, float, str, bytes, lists, dicts with str ' +
  'keys), a numpy array or an Arrow table.';

/** An executor of this language cannot read such a value. */
export function isForeign(language: Language, family: Family): boolean {
  return family === (language === 'python' ? 'js' : 'pickle');
}

/** What a user is told of task `key` when an input is. */
export function foreignInput(
  language: Language,
  family: Family,
  key: string,
  input: string
): Failure {
  const [here, there] = language === 'python' ? ['Python', 'TypeScript'] : ['TypeScript', 'Python'];
  const text =
    `Task ${key} runs in ${here} and needs ${input}, whose value is of family ${family}: only ` +
    `${there} reads it. ${language === 'python' ? RETURN_FROM_TYPESCRIPT : RETURN_FROM_PYTHON}`;
  return failed('SERIALIZATION', `SerializationError: ${text}`);
}

/** A Python task on a worker that runs none. */
export function noPython(key: string): Failure {
  return failed(
    'NO_VALID_WORKER',
    `NoValidWorkerError: Task ${key} is in Python, and this worker has none.`
  );
}

function failed(code: string, message: string): Failure {
  return { code, message, traceback: '', exception: null };
}
