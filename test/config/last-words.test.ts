/** What threads note survives them; a nanny reads who was executing. */
import { existsSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { LastWords, LastWordsFolder } from '../../src/config/last-words.ts';

const folder = new LastWordsFolder();
afterEach(() => folder.close());

test('those that were executing, by thread; else those that ended last', () => {
  const path = folder.make('worker-0', 3);
  const [one, two] = [new LastWords(path, 0), new LastWords(path, 2)];
  one.begin(7, 70);
  one.begin(8, 80);
  two.begin(9, 90);
  two.rest();
  expect(folder.take(path)).toEqual({ tids: [8], runIds: [80] });
  expect(existsSync(path)).toBe(false);
  const again = folder.make('worker-0', 2);
  const three = new LastWords(again, 1);
  three.begin(5, 50);
  three.rest();
  three.rest();
  expect(folder.take(again)).toEqual({ tids: [5], runIds: [50] });
});

test('nothing, when there is no file', () => {
  expect(folder.take('')).toBe(null);
  expect(folder.take('/no/such/file')).toBe(null);
  const path = folder.make('worker-1', 2);
  expect(folder.take(path)).toEqual({ tids: [], runIds: [] });
});
