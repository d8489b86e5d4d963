/**
 * Makes the waits of a notebook cell interruptible by rewriting the cell: every top-level
 * `await x` becomes `await race(x)`, and every top-level `for await (… of x)` iterates over a
 * source that can be broken off. An `await` inside a function is left alone: the cell itself then
 * waits in an `await` of the top level, and that one ends.
 *
 * Only positions found by a parser are touched, nothing is moved to another line, and a cell that
 * cannot be parsed is run as it was written.
 */
import { parse } from 'acorn';
import type { Node } from 'acorn';

/** How the rewritten code reaches the two functions; a symbol, so that no name is taken. */
const AWAIT = 'globalThis[Symbol.for("taskloom.await")]';

/** Node's own conversion of TypeScript; `strip` keeps every character in its place. */
export type StripTypes = (code: string, options: { mode: 'strip' | 'transform' }) => string;

interface Insertion {
  at: number;
  text: string;
}

/**
 * Rewrites a cell. Returns `null` when there is nothing to rewrite, or when the cell is written in
 * a way that this cannot read (JSX, a syntax error that the kernel will report).
 */
export function interruptible(code: string, stripTypes: StripTypes): string | null {
  if (!/\bawait\b/.test(code)) return null;
  const stripped = attempt(() => parseCell(stripTypes(code, { mode: 'strip' })));
  if (stripped !== null) return rewrite(code, stripped);
  // Enumerations and the like are more than types. Converting them drops imports that this cell
  // does not use, and a later cell might: only a cell without imports is converted.
  if (/\bimport\b/.test(code)) return null;
  return attempt(() => {
    const converted = stripTypes(code, { mode: 'transform' });
    return rewrite(converted, parseCell(converted));
  });
}

function parseCell(code: string): Node {
  return parse(code, {
    ecmaVersion: 'latest',
    sourceType: 'module',
    // Brackets belong to an argument: `await (a, b)` must not become a call with two.
    preserveParens: true,
    allowAwaitOutsideFunction: true
  });
}

function attempt<T>(action: () => T): T | null {
  try {
    return action();
  } catch {
    return null;
  }
}

function rewrite(code: string, program: Node): string | null {
  const insertions: Insertion[] = [];
  visit(program, insertions);
  return insertions.length === 0 ? null : insert(code, insertions);
}

function visit(node: Node, insertions: Insertion[]): void {
  switch (node.type) {
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
    case 'StaticBlock':
      return;
    case 'AwaitExpression':
      wrap((node as Node & { argument: Node }).argument, AWAIT, insertions);
      break;
    case 'ForOfStatement': {
      const loop = node as Node & { await: boolean; right: Node };
      if (loop.await) wrap(loop.right, `${AWAIT}.each`, insertions);
      break;
    }
    default:
      break;
  }
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) visit(child, insertions);
    }
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && 'start' in value;
}

function wrap(argument: Node, call: string, insertions: Insertion[]): void {
  insertions.push({ at: argument.start, text: `${call}(` }, { at: argument.end, text: ')' });
}

/** Applies insertions. At one place there are only openings or only closings, all the same. */
function insert(code: string, insertions: Insertion[]): string {
  const order = insertions.map((one, index) => ({ ...one, index }));
  order.sort((a, b) => a.at - b.at || a.index - b.index);
  let result = '';
  let from = 0;
  for (const { at, text } of order) {
    result += code.slice(from, at) + text;
    from = at;
  }
  return result + code.slice(from);
}

/** What an interrupted cell ends with; front ends show the name as Python's kernels have it. */
export class KeyboardInterrupt extends Error {
  override readonly name = 'KeyboardInterrupt';
  constructor() {
    super('The cell was interrupted.');
    // The place is always this file, which tells a user nothing.
    this.stack = 'KeyboardInterrupt: The cell was interrupted.';
  }
}

/** The waits of the running cell: `race` and `race.each` are what rewritten cells call. */
export class Waits {
  readonly #rejects = new Set<(reason: unknown) => void>();

  /** Rejects every wait of the top level; the cell ends unless it catches the error. */
  interrupt(): void {
    const rejects = [...this.#rejects];
    this.#rejects.clear();
    for (const reject of rejects) reject(new KeyboardInterrupt());
  }

  /** The promise, or its breaking off, whichever comes first. A plain value is given back. */
  readonly race = <T>(value: T | PromiseLike<T>): T | Promise<T> => {
    if (typeof value !== 'object' && typeof value !== 'function') return value;
    if (value === null || typeof (value as PromiseLike<T>).then !== 'function') return value as T;
    return new Promise<T>((resolve, reject) => {
      this.#rejects.add(reject);
      Promise.resolve(value).then(
        result => {
          this.#rejects.delete(reject);
          resolve(result);
        },
        (error: unknown) => {
          this.#rejects.delete(reject);
          reject(error instanceof Error ? error : (error as Error));
        }
      );
    });
  };

  /** An async iterable over `source` whose every step can be broken off. */
  readonly each = <T>(source: AsyncIterable<T> | Iterable<T>): AsyncIterable<T> => {
    const { race } = this;
    return {
      [Symbol.asyncIterator](): AsyncIterator<T> {
        const iterator = iterate(source);
        return {
          next: async () => {
            try {
              return await race(iterator.next());
            } catch (error) {
              // The source learns that nobody reads on; it is not waited for.
              if (error instanceof KeyboardInterrupt) void Promise.resolve(iterator.return?.());
              throw error;
            }
          },
          return: async value => {
            await iterator.return?.();
            return { done: true, value: value as T };
          }
        };
      }
    };
  };
}

function iterate<T>(source: AsyncIterable<T> | Iterable<T>): AsyncIterator<T> {
  if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
  return awaited(source);
}

/** What `for await` makes of a plain iterable: its values are waited for. */
async function* awaited<T>(source: Iterable<T>): AsyncGenerator<T> {
  for (const value of source) yield await value;
}
