/** Run by plain Node: prints one JSON line { name, message } for each function that is refused. */
import { createServer } from 'node:net';

import { captureFunction } from '../../../src/serialize/capture.ts';
import { rebuildFunction } from '../../../src/serialize/rebuild.ts';

async function refused(name: string, attempt: () => unknown): Promise<void> {
  let message = 'NOT REFUSED';
  let kind = '';
  try {
    await attempt();
  } catch (error) {
    message = (error as Error).message;
    kind = (error as Error).name;
  }
  process.stdout.write(`${JSON.stringify({ name, kind, message })}\n`);
}
// Names that exist for the checker alone.
declare const mystery: (n: number) => void;
declare const helperOf: (value: unknown) => void;
declare const nothing: unknown;

const capture =
  (fn: Function): (() => unknown) =>
  () =>
    captureFunction(fn);

let count = 0;
function bump(): void {
  count++;
}
const socket = { inner: { server: createServer() } };
function readSocket(): unknown {
  return socket.inner;
}
class Secret {
  #key = 1;
  show(): number {
    return this.#key;
  }
}
const secret = new Secret();
const timer = setTimeout(() => {}, 0);
const bare = Object.create({ inherited: 1 }) as object;
class Named {
  name = 'held';
}
class Holder extends Named {
  value = 1;
  arrow = (): number => this.value;
  method(): string {
    return super.toString();
  }
}
const ambiguous = ((): Function => {
  const memo = (fn: Function): Function => Object.assign(() => fn, { inner: fn });
  const walk = memo(function walk(n: number): number {
    return n === 0 ? 0 : walk(n - 1);
  });
  const user = (): Function => walk;
  return (user() as unknown as { inner: Function }).inner;
})();

await refused(
  'unknown name',
  capture(() => mystery(1))
);
await refused(
  'unknown name in a helper',
  capture(() => (() => helperOf(nothing))())
);
await refused(
  'live handle',
  capture(function load() {
    return readSocket();
  })
);
await refused(
  'timer',
  capture(() => timer)
);
await refused(
  'private members',
  capture(() => secret.show())
);
await refused(
  'prototype without class',
  capture(() => bare)
);
await refused('bound', capture(bump.bind(null)));
await refused('lexical this', capture(new Holder().arrow));
await refused('super', capture(new Holder().method));
await refused(
  'direct eval',
  capture((text: string) => eval(text) as unknown)
);
await refused(
  'shared state',
  capture(() => {
    bump();
    return count;
  })
);
await refused('proxy', capture(new Proxy(() => 1, {})));
await refused(
  'not yet defined',
  capture(() => later)
);
await refused('two meanings', capture(ambiguous));
await refused('no function', () => captureFunction(5 as unknown as Function));
await refused(
  'outer arguments',
  capture(
    (function outer(..._rest: number[]) {
      return () => arguments.length;
    })(1)
  )
);
const later = 1;

// A module the submitting side has and the worker has not.
const { blob } = await captureFunction(async () => (await import('acorn')).version);
await refused('missing at run time', () =>
  Promise.resolve(rebuildFunction(blob, { root: '/' })).then(fn => (fn as () => unknown)())
);
await refused('garbage', () => rebuildFunction(new Uint8Array([1, 2, 3]), { root: '/' }));
