/** Who asks while many answers are still on their way is told that the worker is busy. */
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { expect, test } from 'vitest';
import { writeData } from '../../src/comm/data.ts';
import { DataService } from '../../src/worker/data-service.ts';
import { MemoryStore } from '../../src/worker/store.ts';

test('twenty answers at once on one host, no more until one has left', async () => {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>(resolve => server.once('connection', resolve));
  const asker = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  const socket = (await accepted).setMaxListeners(50);
  const store = new MemoryStore();
  const frame = new Uint8Array(16 * 2 ** 20);
  store.put(1, { family: 'plain', frames: [frame], nbytes: frame.length, type: 'Uint8Array' });
  const service = new DataService({
    epoch: '',
    store,
    memoryLimit: 0,
    keyOf: () => 'k1',
    onPut: () => undefined
  });
  const ask = async (): Promise<boolean> => {
    const answer = await service.handle(
      { head: { op: 'get-data', tids: [1] }, frames: [] },
      socket
    );
    if (answer.head['busy'] === true) return false;
    writeData(socket, answer);
    await new Promise(resolve => setImmediate(resolve));
    return true;
  };
  for (let i = 0; i < 20; i++) expect(await ask()).toBe(true);
  expect(await ask()).toBe(false);
  const drained = new Promise(resolve => socket.once('drain', resolve));
  asker.resume();
  await drained;
  expect(await ask()).toBe(true);
  expect(service.sentBytes).toBe(21 * frame.length);
  asker.destroy();
  socket.destroy();
  await new Promise(resolve => server.close(resolve));
});

test('large values are given to two at a time, so that who has got one serves the next', async () => {
  const store = new MemoryStore();
  const frame = new Uint8Array(40 * 2 ** 20);
  const small = new Uint8Array(10);
  store.put(1, { family: 'plain', frames: [frame], nbytes: frame.length, type: 'Uint8Array' });
  store.put(2, { family: 'plain', frames: [small], nbytes: 10, type: 'Uint8Array' });
  const options = { epoch: '', store, memoryLimit: 0, keyOf: () => 'k', onPut: () => undefined };
  const service = new DataService(options);
  const stuck = { destroyed: false, writableLength: 1, writableNeedDrain: true, once: () => 0 };
  const ask = async (tid: number): Promise<boolean> => {
    const message = { head: { op: 'get-data', tids: [tid] }, frames: [] };
    return (await service.handle(message, stuck as never)).head['busy'] !== true;
  };
  expect([await ask(1), await ask(1), await ask(1), await ask(2)]).toEqual([
    true,
    true,
    false,
    true
  ]);
});
