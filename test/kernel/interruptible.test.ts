/** The rewriting of cells, run for real: what a cell means must not change, only its waits. */
import { stripTypeScriptTypes } from 'node:module';

import { describe, expect, it } from 'vitest';

import { KeyboardInterrupt, Waits, interruptible } from '../../src/kernel/interruptible.ts';

const rewrite = (code: string) => interruptible(code, stripTypeScriptTypes);
const CALL = 'globalThis[Symbol.for("taskloom.await")]';

/** Runs a rewritten cell as the body of an async function; the cell returns its value. */
function run(code: string, waits: Waits): Promise<unknown> {
  const body = rewrite(code);
  if (body === null) throw new Error(`not rewritten: ${code}`);
  Object.assign(globalThis, {
    [Symbol.for('taskloom.await')]: Object.assign(waits.race, { each: waits.each })
  });
  return (0, eval)(
    `(async () => { let result; ${stripTypeScriptTypes(body)}; return result; })()`
  ) as Promise<unknown>;
}

describe('rewriting', () => {
  it.each([
    ['await f();', `await ${CALL}(f());`],
    ['const x: T = await g<string>(y as any);', `const x: T = await ${CALL}(g<string>(y as any));`],
    ['await await x', `await ${CALL}(await ${CALL}(x))`],
    ['f(await a, await b!)', `f(await ${CALL}(a), await ${CALL}(b)!)`],
    ['await (a, b)', `await ${CALL}((a, b))`],
    ['for await (const x of s()) y(x)', `for await (const x of ${CALL}.each(s())) y(x)`],
    ['import { a } from "m"; await a', `import { a } from "m"; await ${CALL}(a)`],
    ['{ const z = `${await q}`; }', `{ const z = \`\${await ${CALL}(q)}\`; }`]
  ])('wraps the waits of the top level: %s', (code, expected) => {
    expect(rewrite(code)).toBe(expected);
  });

  it.each([
    ['1 + 1'],
    ['const f = async () => { await x; }'],
    ['class A { async m() { await x } }'],
    ['// await nothing'],
    ['"await me"'],
    ['await <div/>'],
    ['await (('],
    ['import x from "m"; enum A { B } await x']
  ])('leaves alone: %s', code => {
    expect(rewrite(code)).toBeNull();
  });

  it('keeps every line in its place', () => {
    const code = 'interface A {\n  b: string;\n}\n\nconst a: A = await f();\nthrow a;';
    expect(rewrite(code)?.split('\n')).toHaveLength(6);
  });

  it('converts what is more than types, when nothing is imported', () => {
    expect(rewrite('enum A { B }\nawait f(A)')).toContain(`await ${CALL}(f(A))`);
  });
});

describe('waits', () => {
  const never = 'new Promise(() => {})';

  it('give the values that the cell would have got', async () => {
    const waits = new Waits();
    const code = `
      const thenable: any = { then(resolve: (x: number) => void) { resolve(3); } };
      const list = [await 1, await Promise.resolve(2), await thenable, await null, await undefined];
      for await (const x of [Promise.resolve(4), 5]) list.push(x);
      async function* g() { yield 6; yield 7; }
      for await (const x of g()) { list.push(x); if (x === 6) break; }
      result = list;`;
    expect(await run(code, waits)).toEqual([1, 2, 3, null, undefined, 4, 5, 6]);
  });

  it('pass errors on as they are', async () => {
    const waits = new Waits();
    const error = new RangeError('mine');
    Object.assign(globalThis, { thrown: error });
    await expect(run('await Promise.reject(thrown)', waits)).rejects.toBe(error);
  });

  it('end when they are interrupted', async () => {
    const waits = new Waits();
    const cell = run(`await ${never}`, waits);
    waits.interrupt();
    await expect(cell).rejects.toBeInstanceOf(KeyboardInterrupt);
  });

  it('are caught by the cell if it wants, and the next wait waits again', async () => {
    const waits = new Waits();
    const cell = run(
      `try { await ${never} } catch (e) { result = await Promise.resolve(e.name) }`,
      waits
    );
    waits.interrupt();
    expect(await cell).toBe('KeyboardInterrupt');
  });

  it('end an iteration, and its source learns of it', async () => {
    const waits = new Waits();
    let returned = false;
    const source = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<never>(() => undefined),
        return: () => {
          returned = true;
          return Promise.resolve({ done: true as const, value: undefined });
        }
      })
    };
    Object.assign(globalThis, { source });
    const cell = run('for await (const x of source) void x', waits);
    await Promise.resolve();
    waits.interrupt();
    await expect(cell).rejects.toBeInstanceOf(KeyboardInterrupt);
    expect(returned).toBe(true);
  });

  it('that are over are not touched by a later interrupt', async () => {
    const waits = new Waits();
    expect(await run('result = await Promise.resolve(1)', waits)).toBe(1);
    expect(() => waits.interrupt()).not.toThrow();
  });
});
