/** Functions shipped from a plain Node program: what arrives, and what is refused at the call. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

/** Runs one of the programs; its lines by name. */
function run<T extends { name: string }>(program: string): Map<string, T> {
  const file = join(import.meta.dirname, 'programs', program);
  const output = execFileSync(process.execPath, [file], { encoding: 'utf8' });
  const lines = output.trim().split('\n');
  return new Map(lines.map(line => JSON.parse(line) as T).map(line => [line.name, line]));
}

interface Outcome {
  name: string;
  got?: unknown;
  error?: string;
}

describe('a function shipped and made again', () => {
  let outcomes: Map<string, Outcome>;
  beforeAll(() => {
    outcomes = run<Outcome>('closures.ts');
  });

  it('a function of a package is imported', () => {
    const { got } = outcomes.get('package function')!;
    expect(got).toMatchObject({ type: 'BinaryExpression', operator: '+' });
  });

  it.each<[string, unknown]>([
    ['nothing captured', 3],
    ['module const and let', 12],
    ['helpers of helpers', 16],
    ['named import', 'a/b'],
    ['namespace import', 'q'],
    ['package', 'Program'],
    ['own module', 13],
    ['own module, namespace', 6],
    ['own module, value', 'mine'],
    ['mutual recursion', true],
    ['recursion', 120],
    ['classes', ['hi44', 'd2', 5, true]],
    ['private members', [1, 2, 2]],
    ['singleton', 'only'],
    ['values', [5, 'g', '9', 2]],
    ['enclosing function', 19],
    ['inner helpers', 10],
    ['method shorthand', 8],
    ['async', 3],
    ['generator', [2, 3, 4]],
    ['native', 5],
    ['built-in module function', 'x/y'],
    ['dynamic import', ['/', 'function']],
    ['import.meta', 'closures.ts'],
    ['instance as argument', 'hi22'],
    ['instance captured', ['hi1414', true]],
    ['array subclass', [3, 3, true]],
    ['old-style class', 6],
    ['custom error', ['gone', 404, true, true]],
    ['a global shadowed by a const', 1001],
    ['shadowing inside', { table: [40, 7, 1, 1], offset: 1, hoisted: 3, text: '40' }],
    ['typeof guard', 'none'],
    ['own state', [1, 2, 0]],
    ['moment of the call', [1, 10]],
    ['captured future', [1, true, ['result 0', 2]]],
    ['hash', [true, false, 32, 'lambda']],
    ['analysed once', [true, false]],
    ['values with code', [4, 'hi66', 500, true, true, true]],
    ['sent on', 11],
    ['stack', ['explode', 'closures.ts', "new Error('boom');"]]
  ])('%s', (name, want) => {
    expect(outcomes.get(name)).toEqual({ name, got: want });
  });
});

interface Refused {
  name: string;
  kind: string;
  message: string;
}

describe('a function that cannot be shipped', () => {
  let refusals: Map<string, Refused>;
  beforeAll(() => {
    refusals = run<Refused>('refusals.ts');
  });

  it.each<[string, RegExp]>([
    ['unknown name', /uses `mystery`, which is defined nowhere.*typeof mystery/],
    ['unknown name in a helper', /`(helperOf|nothing)`/],
    [
      'live handle',
      /^socket\.inner\.server \(captured by function readSocket\): a Server .*inside the task/
    ],
    ['timer', /timer .*a Timeout .*Start the timer inside the task/],
    ['private members', /secret .*instance of Secret, whose private members/],
    ['prototype without class', /belongs to no class.*\{ \.\.\.object \}/],
    ['bound', /\.bind\(\).*\(\.\.\.args\) =>/],
    ['lexical this', /arrow function that uses `this`.*const first/],
    ['super', /uses `super`/],
    ['direct eval', /calls eval\(\) directly/],
    ['shared state', /`count` is assigned by function bump.*const state = \{ count/],
    ['proxy', /a Proxy/],
    ['not yet defined', /uses `later`, which has no value yet.*before the call/],
    ['two meanings', /calls itself as `walk`.*a name of its own/],
    ['no function', /needs a function, but got a value of type number/],
    ['outer arguments', /uses `arguments` of the function around it.*rest parameter/],
    ['garbage', /damaged/]
  ])('%s', (name, message) => {
    const refusal = refusals.get(name)!;
    expect(refusal.message).toMatch(message);
    expect(refusal.kind).toBe(name === 'garbage' ? 'ProtocolError' : 'SerializationError');
  });
});
