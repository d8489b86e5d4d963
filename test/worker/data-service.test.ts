/** Who asks while many answers are still on their way is told that the worker is busy. */
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { expect, test } from 'vitest';
import { writeData } from '../../src/comm/data.ts';
import { DataService } from '../../src/worker/data-service.ts';
import { MemoryStore } from '../../src/worker/store.ts';

test('ten answers at once, no more until one has left', async () => {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<Socket>(resolve => server.once('connection', resolve));
  const asker = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  const socket = (await accepted).setMaxListeners(20);
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
  for (let i = 0; i < 10; i++) expect(await ask()).toBe(true);
  expect(await ask()).toBe(false);
  const drained = new Promise(resolve => socket.once('drain', resolve));
  asker.resume();
  await drained;
  expect(await ask()).toBe(true);
  expect(service.sentBytes).toBe(11 * frame.length);
  asker.destroy();
  socket.destroy();
  await new Promise(resolve => server.close(resolve));
});
