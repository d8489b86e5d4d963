/**
 * The first thing that runs inside a TypeScript kernel (Deno), before any cell of the user. It
 *
 *  - makes `import "taskloom"` lead to the runtime beside this file, with no set-up or network,
 *  - records what every import of every cell resolved to (function capture ships imports by name),
 *  - talks with the kernel's wrapper over a unix socket: which cell runs, when its output has all
 *    been sent, and when the user interrupts.
 *
 * The wrapper is `python/taskloom/kernel`; the messages are one JSON object a line. This file must
 * not import the client: a kernel that never uses it should not pay for it.
 */
import { Buffer } from 'node:buffer';
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { connect } from 'node:net';
import process from 'node:process';

import { Waits, interruptible } from './interruptible.ts';

/** What the wrapper sends. */
type WrapperMessage =
  | { op: 'cell'; id: number; cell: Record<string, unknown>; code: string }
  | { op: 'fence'; id: number }
  | { op: 'explain'; id: number; code: string }
  | { op: 'interrupt'; id: number };

/** What it is told. `code` is the rewritten cell, or null to run it as it is. */
type KernelMessage =
  | { op: 'hello' }
  | { op: 'ready'; id: number; code: string | null }
  | { op: 'explained'; id: number; text: string | null }
  | { op: 'interrupted'; id: number };

/** The part of Deno that is used here; its types are not those of Node. */
declare const Deno: {
  jupyter: { broadcast(type: string, content: object): Promise<void> };
  exit(code: number): never;
};

const shared = globalThis as unknown as Record<symbol, unknown>;
const waits = new Waits();
const interrupts = new EventTarget();

/** Resolves `taskloom` to the runtime, and keeps what each specifier of a cell led to. */
function hookImports(runtime: string): void {
  const imports = new Map<string, string>();
  shared[Symbol.for('taskloom.imports')] = imports;
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'taskloom') {
        if (context.parentURL === undefined) imports.set(specifier, runtime);
        return { url: runtime, format: 'module', shortCircuit: true };
      }
      const resolved = next(specifier, context);
      // Modules name themselves as the parent; only a cell has none.
      if (!context.parentURL) imports.set(specifier, resolved.url);
      return resolved;
    }
  });
}

/** Errors that no cell waits for would vanish without a word. */
function reportStrayErrors(): void {
  addEventListener('error', (event: Event & { error?: unknown }) => {
    event.preventDefault();
    console.error('Uncaught', event.error);
  });
  addEventListener('unhandledrejection', (event: Event & { reason?: unknown }) => {
    event.preventDefault();
    console.error('Uncaught (in promise)', event.reason);
  });
}

declare function addEventListener(type: string, listener: (event: Event) => void): void;

/**
 * Why a cell cannot be parsed: Deno tells it for modules but not for cells. As a module the cell
 * is never run, since it imports something that no scheme leads to.
 */
async function explain(code: string): Promise<string | null> {
  const module = Buffer.from(`${code}\nimport "taskloom-never:run";`).toString('base64');
  try {
    await import(`data:text/tsx;base64,${module}`);
    return null;
  } catch (error) {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const [, reason] = /^(?:TypeError: )?SyntaxError: ([^]*)$/.exec(text) ?? [];
    // Where the parser stumbles over the added line, the cell itself had not come to an end.
    if (reason?.includes('taskloom-never')) return 'Unexpected end of the cell';
    return reason?.replace(/\s+at data:text\/tsx\S*/, '') ?? null;
  }
}

/** Answers one message of the wrapper. */
async function handle(message: WrapperMessage, send: (message: KernelMessage) => void) {
  switch (message.op) {
    case 'cell':
      shared[Symbol.for('taskloom.cell')] = message.cell;
      send({
        op: 'ready',
        id: message.id,
        code: interruptible(message.code, stripTypeScriptTypes)
      });
      break;
    case 'fence':
      // What the client has to show under the cell that ends, such as a bar that goes on.
      await (shared[Symbol.for('taskloom.cell-ended')] as (() => Promise<void>) | undefined)?.();
      // All output of the cell went into the same queue before this, so it arrives before this.
      await Deno.jupyter.broadcast('taskloom_fence', { id: message.id });
      break;
    case 'explain':
      send({ op: 'explained', id: message.id, text: await explain(message.code) });
      break;
    case 'interrupt':
      // The client's own waits first: it may have something to cancel.
      interrupts.dispatchEvent(new Event('interrupt'));
      waits.interrupt();
      send({ op: 'interrupted', id: message.id });
      break;
  }
}

/** Listens to the wrapper; a kernel whose wrapper has gone has nobody left to talk to. */
function listen(path: string): void {
  const socket = connect(path);
  socket.setEncoding('utf8');
  const send = (message: KernelMessage) => {
    socket.write(`${JSON.stringify(message)}\n`);
  };
  let rest = '';
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) void handle(JSON.parse(line) as WrapperMessage, send);
  });
  socket.on('error', () => Deno.exit(0));
  socket.on('close', () => Deno.exit(0));
  socket.on('connect', () => send({ op: 'hello' }));
}

/** Sets the kernel up; called once by the silent first cell that the wrapper sends. */
export function start(socketPath: string, env: Record<string, string>): void {
  Object.assign(process.env, env);
  shared[Symbol.for('taskloom.await')] = Object.assign(waits.race, { each: waits.each });
  shared[Symbol.for('taskloom.interrupt')] = interrupts;
  hookImports(new URL('./index.mjs', import.meta.url).href);
  reportStrayErrors();
  listen(socketPath);
}
