/**
 * What surrounds a function: the variables of the functions, module or notebook it was written in.
 *
 * V8's inspector, connected in-process, is the only way to see them. In Node its answers come before
 * `post` returns, so one session is kept. Deno answers later, and panics when a session stays
 * connected: there every look connects, asks, and disconnects.
 */
import { Session } from 'node:inspector';
import { SerializationError } from '../base/errors.ts';

/** One surrounding scope with its live values. The global scope is left out. */
export interface Level {
  /** V8's word: `Closure (name)`, `Block (name)`, `Module`, `Script`. */
  description: string;
  object: Readonly<Record<string, unknown>>;
}

/** Innermost level first. */
export interface Surroundings {
  scriptId: string;
  line: number;
  column: number;
  levels: readonly Level[];
}

interface RemoteObject {
  objectId?: string;
  value?: unknown;
}
interface InternalProperty {
  name: string;
  value?: RemoteObject;
}
interface Answers {
  'Runtime.evaluate': { result: RemoteObject };
  'Runtime.getProperties': { internalProperties?: InternalProperty[] };
  'Runtime.callFunctionOn': unknown;
  'Runtime.releaseObjectGroup': unknown;
  'Debugger.enable': unknown;
  'Debugger.disable': unknown;
  'Debugger.getScriptSource': { scriptSource: string };
}
type Method = keyof Answers;

/** Whether this is Deno, where the inspector must be awaited. */
export const inDeno = 'Deno' in globalThis;

const GROUP = 'taskloom';
const SLOT = Symbol.for('taskloom.capture');
const LIST = Symbol.for('taskloom.captures');
const EXPRESSION = `globalThis[Symbol.for('taskloom.capture')].fn`;
const RECEIVE = `function () { globalThis[Symbol.for('taskloom.capture')].scopes = this; }`;
const slot: { fn: Function | undefined; scopes: unknown } = { fn: undefined, scopes: undefined };

let kept: Session | undefined;

function session(): Session {
  if (kept === undefined) {
    kept = new Session();
    kept.connect();
  }
  return kept;
}

/** Asks the kept session; only in Node. */
export function ask<M extends Method>(method: M, params: object = {}): Answers[M] {
  let failure: Error | null = null;
  let answer: unknown;
  session().post(method as never, params as never, (error: Error | null, value?: object) => {
    failure = error;
    answer = value;
  });
  if (failure !== null) throw inspectorFailed(failure);
  return answer as Answers[M];
}

function inspectorFailed(cause: unknown): SerializationError {
  return new SerializationError(
    `The engine's inspector, which tells what a function closes over, did not answer. ` +
      `Run without --disable-inspector flags, or submit functions that take all they need as arguments.`,
    { cause }
  );
}

function locate(properties: Answers['Runtime.getProperties']): {
  at: Omit<Surroundings, 'levels'>;
  scopes: string | undefined;
} {
  const internal = properties.internalProperties ?? [];
  const location = internal.find(item => item.name === '[[FunctionLocation]]')?.value?.value as
    { scriptId: string; lineNumber: number; columnNumber?: number } | undefined;
  return {
    at: {
      scriptId: location?.scriptId ?? '',
      line: location?.lineNumber ?? 0,
      column: location?.columnNumber ?? 0
    },
    scopes: internal.find(item => item.name === '[[Scopes]]')?.value?.objectId
  };
}

/** The received array is an inspector's own: it may have no prototype. */
function levelsOf(received: unknown): Level[] {
  const list = Array.prototype.slice.call(received ?? []) as Level[];
  return list.filter(
    level => (level.object as object) !== globalThis && level.object !== undefined
  );
}

function offer(fn: Function): void {
  slot.fn = fn;
  slot.scopes = undefined;
  Object.defineProperty(globalThis, SLOT, { value: slot, configurable: true, enumerable: false });
}

function retract(): void {
  slot.fn = undefined;
  slot.scopes = undefined;
}

/** The surroundings of a function, at once; only in Node. */
export function surroundings(fn: Function): Surroundings {
  offer(fn);
  try {
    const handle = ask('Runtime.evaluate', { expression: EXPRESSION, objectGroup: GROUP }).result;
    const { at, scopes } = locate(
      ask('Runtime.getProperties', { objectId: handle.objectId, ownProperties: true })
    );
    if (scopes !== undefined) {
      ask('Runtime.callFunctionOn', { objectId: scopes, functionDeclaration: RECEIVE });
    }
    return { ...at, levels: levelsOf(slot.scopes) };
  } finally {
    ask('Runtime.releaseObjectGroup', { objectGroup: GROUP });
    retract();
  }
}

interface Waiting {
  fn: Function;
  resolve: (found: Surroundings) => void;
  reject: (error: unknown) => void;
}
const waiting: Waiting[] = [];
let looking: Promise<void> | undefined;

/**
 * The surroundings of a function in Deno. All functions asked for in one turn share one short
 * session; sessions follow one another.
 */
export function surroundingsLater(fn: Function): Promise<Surroundings> {
  return new Promise((resolve, reject) => {
    waiting.push({ fn, resolve, reject });
    looking ??= Promise.resolve().then(lookAtAll);
  });
}

async function lookAtAll(): Promise<void> {
  while (waiting.length > 0) {
    const batch = waiting.splice(0, BATCH);
    const brief = new Session();
    try {
      brief.connect();
      await Promise.all(batch.map((item, i) => look(brief, item, i)));
    } catch (error) {
      for (const item of batch) item.reject(inspectorFailed(error));
    } finally {
      brief.disconnect();
      offers.length = 0;
    }
  }
  looking = undefined;
}

const BATCH = 200;
const offers: { fn: Function; scopes: unknown }[] = [];

async function look(brief: Session, item: Waiting, index: number): Promise<void> {
  const post = <M extends Method>(method: M, params: object): Promise<Answers[M]> =>
    new Promise((resolve, reject) => {
      brief.post(method as never, params as never, (error: Error | null, value?: object) => {
        if (error !== null) reject(inspectorFailed(error));
        else resolve(value as Answers[M]);
      });
    });
  const offered = { fn: item.fn, scopes: undefined as unknown };
  offers[index] = offered;
  Object.defineProperty(globalThis, LIST, { value: offers, configurable: true, enumerable: false });
  const place = `globalThis[Symbol.for('taskloom.captures')][${index}]`;
  try {
    const { result } = await post('Runtime.evaluate', { expression: `${place}.fn` });
    const properties = await post('Runtime.getProperties', {
      objectId: result.objectId,
      ownProperties: true
    });
    const { at, scopes } = locate(properties);
    if (scopes !== undefined) {
      const functionDeclaration = `function () { ${place}.scopes = this; }`;
      await post('Runtime.callFunctionOn', { objectId: scopes, functionDeclaration });
    }
    item.resolve({ ...at, levels: levelsOf(offered.scopes) });
  } catch (error) {
    item.reject(error);
  }
}

/** A script by its number: where it came from and its text; only in Node. */
export interface Script {
  url: string;
  source: string;
}

const urls = new Map<string, string>();

/** Looks a script up. Turning the debugger on lists them all, so it is on only while asking. */
export function scriptOf(scriptId: string): Script {
  const listen = (event: { params: { scriptId: string; url: string } }): void => {
    urls.set(event.params.scriptId, event.params.url);
  };
  session().on('Debugger.scriptParsed', listen as never);
  try {
    ask('Debugger.enable');
    const { scriptSource } = ask('Debugger.getScriptSource', { scriptId });
    return { url: urls.get(scriptId) ?? '', source: scriptSource };
  } catch {
    return { url: urls.get(scriptId) ?? '', source: '' };
  } finally {
    ask('Debugger.disable');
    session().off('Debugger.scriptParsed', listen as never);
  }
}
