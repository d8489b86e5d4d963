/** A worker thread that rebuilds the function it is sent, runs it, and posts what it gives. */
import { parentPort, workerData } from 'node:worker_threads';

const { rebuildFunction } = await import(new URL('rebuild.ts', workerData.source).href);

try {
  const { blob, root, args } = workerData;
  const fn = await rebuildFunction(blob, { root });
  parentPort.postMessage({ got: await fn(...args) });
} catch (error) {
  parentPort.postMessage({ error: `${error.name}: ${error.message}` });
}
