/** What keys tell of the tasks that have them. */

const WORD = /^\p{L}+$/u;
/** A hash. Eight such letters are the first part of a UUID. */
const HASH = /^[0-9a-f]{32}$/;
const SHORT_HASH = /^[0-9a-f]{8}$/;

/**
 * What a task is called by its key: the words before the first that is a token or a number, as
 * `dask.utils.key_split` has it. `read-csv-4b21…-0` is `read-csv`; nothing but a hash is `data`.
 */
export function keyPrefix(key: string): string {
  const [first = '', ...rest] = key.replace(/^[^\p{L}\d]+/u, '').split('-');
  let prefix = first.replace(/[,'")].*$/s, '');
  if (prefix === '') return key;
  if (HASH.test(prefix)) return 'data';
  for (const word of rest) {
    if (!WORD.test(word) || SHORT_HASH.test(word)) break;
    prefix += `-${word}`;
  }
  return prefix;
}
