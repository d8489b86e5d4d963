/**
 * Which names a function uses that it does not declare itself.
 *
 * Works on `fn.toString()`, parsed once per source text. Knows JavaScript's scoping: parameters,
 * `var` hoisting, block scopes, catch parameters, class and function names, destructuring, defaults.
 * Says also what makes a function unfit to travel: `super` out of its class, a lexical `this`.
 *
 * Positions are offsets in `Analysis.expression`: the source as an expression that gives the
 * function when evaluated (a method is wrapped in an object literal).
 */
import { parse } from 'acorn';
import { Walker } from './names.ts';
import type { Any } from './names.ts';

/** One name a function takes from outside. */
export interface FreeName {
  name: string;
  /** Asked for with `typeof` somewhere: it may be missing altogether. */
  guarded: boolean;
  /** The function assigns it: it is state, not only input. */
  assigned: boolean;
  /** A class needs it when it is defined (extends, computed keys, static parts), not only later. */
  early: boolean;
  /** The members used, when it is used in no other way than `name.member`; else undefined. */
  members: ReadonlySet<string> | undefined;
}

/** A piece of the expression to replace: [start, end, text]. */
export type Edit = readonly [start: number, end: number, text: string];

/** What a source text says about its function. */
export interface Analysis {
  /** `function` covers arrows and methods. */
  kind: 'function' | 'class';
  arrow: boolean;
  /** Source to evaluate, its edits made. */
  expression: string;
  /** What stands before the user's own first character in `expression`. */
  prefix: number;
  free: readonly FreeName[];
  /** The function's own name as its source declares it, when it also uses it. */
  selfName: string | undefined;
  /** Why it cannot be shipped, with the way out; undefined when it can. */
  obstacle: string | undefined;
  usesImport: boolean;
  usesMeta: boolean;
  /** A class with private members: its instances cannot be copied. */
  privateMembers: boolean;
}

/** Names the compiled wrapper gives to a rewritten source. */
export const IMPORT_NAME = '$taskloom_import';
export const META_NAME = '$taskloom_meta';

const CACHE_LIMIT = 2000;
const cache = new Map<string, Analysis | SyntaxError>();

/** The analysis of a function's source text; kept for the next function with the same text. */
export function analyze(source: string): Analysis {
  let analysis = cache.get(source);
  if (analysis === undefined) {
    analysis = attempt(source);
    if (cache.size >= CACHE_LIMIT) cache.clear();
    cache.set(source, analysis);
  }
  if (analysis instanceof SyntaxError) throw analysis;
  return analysis;
}

function attempt(source: string): Analysis | SyntaxError {
  try {
    const { node, text, prefix } = parseFunction(source);
    return new Walker(text, prefix).run(node);
  } catch (error) {
    if (error instanceof SyntaxError) return error;
    throw error;
  }
}

const OPTIONS = {
  ecmaVersion: 'latest',
  sourceType: 'module',
  allowAwaitOutsideFunction: false
} as const;

interface Parsed {
  node: Any;
  text: string;
  prefix: number;
}

function parseFunction(source: string): Parsed {
  try {
    const text = `(${source}\n)`;
    const node = expressionOf(text);
    if (/Function|Class/.test(node.type)) return { node, text, prefix: 1 };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return parseMethod(source);
}

/** Method shorthand, accessors, computed and private names: valid only inside an object literal. */
function parseMethod(source: string): Parsed {
  const shown = source.replace(/^((?:static\s+|async\s+|get\s+|set\s+|\*\s*)*)#/, '$1_');
  const text = `({${shown}\n})`;
  const object = expressionOf(text);
  const property = (object['properties'] as Any[] | undefined)?.[0];
  const node = property?.['value'] as Any | undefined;
  if (property === undefined || node === undefined || !/Function/.test(node.type)) {
    throw new SyntaxError('it is neither a function nor a class');
  }
  const key = property['key'] as Any;
  // The function is taken out again by a name we know, whatever it was called.
  const keyEnd = property['computed'] === true ? text.indexOf(']', key.end) + 1 : key.end;
  const async = node['async'] === true ? 'async ' : '';
  const star = node['generator'] === true ? '*' : '';
  const head = `({${async}${star}_`;
  const rest = text.slice(keyEnd, -2);
  const rewritten = `${head}${rest}})._`;
  const again = expressionOf(rewritten);
  const method = ((again['object'] as Any)['properties'] as Any[])[0]!;
  return { node: method['value'] as Any, text: rewritten, prefix: head.length };
}

function expressionOf(text: string): Any {
  const program = parse(text, OPTIONS) as unknown as { body: Any[] };
  const statement = program.body[0];
  if (program.body.length !== 1 || statement?.type !== 'ExpressionStatement') {
    throw new SyntaxError('it is more than one expression');
  }
  return statement['expression'] as unknown as Any;
}
