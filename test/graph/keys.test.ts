/** Names of tasks by their keys; python/taskloom/_keys.py has the same rule and Dask's own beside it. */
import { describe, expect, it } from 'vitest';
import { keyPrefix } from '../../src/graph/keys.ts';

describe('keyPrefix', () => {
  it.each([
    ['x', 'x'],
    ['x-1', 'x'],
    ['x-1-2-3', 'x'],
    ['hello-world-1', 'hello-world'],
    ['x-abcdefab', 'x'],
    ['inc-1b4e28ba-2fa1-11d2-883f-0016d3cca427', 'inc'],
    ['read-csv-4b2104b9f3a34f0c9f3a34f0c9f3a34f-5f1e2a3bg7-0, 12', 'read-csv'],
    ['ae05086432ca935f6eba409a8ecd4896', 'data'],
    ['ae05086432ca935f6eba409a8ecd4896-5f1e2a3bg7', 'data'],
    ["('x-2', 1)", 'x'],
    ["('x', 1)", 'x'],
    ['_(x)', 'x'],
    ['größe-neu-1', 'größe-neu'],
    ['-', '-']
  ])('%s is %s', (key, prefix) => {
    expect(keyPrefix(key)).toBe(prefix);
  });
});
