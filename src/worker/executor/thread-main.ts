/**
 * Entry of an executor thread. Puts the loop on the parent's port and makes the user's output and
 * stray exceptions the control thread's business, with the key of the task that ran.
 */
import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { libraryPath } from '../../config/runtime.ts';
import { overrideModule } from '../../serialize/load.ts';
import { ExecutorLoop } from './loop.ts';
import type { ThreadSetup } from './messages.ts';

if (parentPort === null) throw new Error('This file runs in an executor thread only.');
// Tasks that use taskloom itself get the one that runs them, wherever theirs came from.
overrideModule('taskloom', pathToFileURL(libraryPath()).href);
const loop = new ExecutorLoop(workerData as ThreadSetup, parentPort);

type Write = typeof process.stdout.write;

/** Streams of a thread reach the parent only when this thread is idle; messages leave at once. */
function forward(level: 'info' | 'error'): Write {
  return ((text: string | Uint8Array, encoding?: unknown, done?: unknown): boolean => {
    const line = typeof text === 'string' ? text : Buffer.from(text).toString('utf8');
    loop.send({ op: 'log', key: loop.currentKey, level, text: line.replace(/\n$/, '') });
    const callback = typeof encoding === 'function' ? encoding : done;
    if (typeof callback === 'function') (callback as () => void)();
    return true;
  }) as Write;
}

process.once('exit', () => loop.ending());
process.stdout.write = forward('info');
process.stderr.write = forward('error');

function uncaught(error: unknown): void {
  if (loop.uncaught(error)) return;
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  loop.send({ op: 'log', key: '', level: 'error', text: `Nobody caught: ${text}` });
}

process.on('uncaughtException', uncaught);
process.on('unhandledRejection', uncaught);
loop.send({ op: 'ready' });
