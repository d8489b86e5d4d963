/** Values in files in memory: who is handed their names, who gets bytes, and what is left of them. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommServer } from '../../../src/comm/server.ts';
import { hostMark, SHARED_MEMORY } from '../../../src/config/host-mark.ts';
import { DataService, readValues } from '../../../src/worker/data-service.ts';
import { Gatherer } from '../../../src/worker/gatherer.ts';
import { FiledValue, linkFiles, takeFiles } from '../../../src/worker/store/filed.ts';
import { MemoryStore } from '../../../src/worker/store.ts';

const HOST = hostMark();
const BYTES = 2 ** 20;
const socket = { destroyed: true, once: () => undefined } as unknown as Socket;

describe.skipIf(HOST === '')('a value in files', () => {
  let ours = '';
  let theirs = '';

  /** Folders as workers name theirs: links to other places are refused. */
  const folder = (): string => {
    const made = mkdtempSync(join(SHARED_MEMORY, 'taskloom-worker-0123456789ab-1-'));
    mkdirSync(join(made, 'python'));
    return join(made, 'python');
  };

  /** As an executor tells of one: a small frame that it sent, and a file. */
  const made = (of: string, fill: number): FiledValue => {
    const path = join(of, `frame-${fill}`);
    writeFileSync(path, Buffer.alloc(BYTES, fill), { mode: 0o600 });
    return takeFiles('ndarray', [Uint8Array.of(1, 2)], [null, path]);
  };

  const service = (store: MemoryStore, host: string): DataService =>
    new DataService({
      epoch: '',
      store,
      memoryLimit: 0,
      sharing: { host, folders: [theirs] },
      keyOf: tid => `k${tid}`,
      onPut: () => undefined
    });

  beforeEach(() => {
    ours = folder();
    theirs = folder();
  });
  afterEach(() => {
    for (const one of [ours, theirs]) rmSync(join(one, '..'), { recursive: true });
  });

  test('is read when somebody asks for bytes, and goes with the store’s last word', async () => {
    const store = new MemoryStore();
    const value = made(theirs, 7);
    store.put(1, value);
    expect(value.nbytes).toBe(BYTES + 2);
    expect(value.fileBytes).toBe(BYTES);
    expect(value.frames[1]?.every(byte => byte === 7)).toBe(true);
    const [reading, too] = [value.read(), value.read()];
    store.delete(1);
    // A file without a name is written again: it keeps its own until it has been read.
    expect(readdirSync(theirs)).toHaveLength(1);
    expect((await reading)[1]?.every(byte => byte === 7)).toBe(true);
    await too;
    expect(readdirSync(theirs)).toEqual([]);
  });

  test('is handed to one with our mark by name; to another as bytes', async () => {
    const store = new MemoryStore();
    store.put(1, made(theirs, 3));
    const ask = async (host: string | undefined) =>
      service(store, HOST).handle(
        {
          head: { op: 'get-data', tids: [1], ...(host === undefined ? {} : { host }) },
          frames: []
        },
        socket
      );
    const near = await ask(HOST);
    expect(near.frames).toEqual([Uint8Array.of(1, 2)]);
    const [got] = readValues(near, [ours]);
    store.delete(1);
    expect(readdirSync(theirs)).toEqual([]);
    expect(got?.value.frames[1]?.every(byte => byte === 3)).toBe(true);
    got?.value.discard?.();
    expect(readdirSync(ours)).toEqual([]);

    store.put(1, made(theirs, 4));
    for (const other of [undefined, '', HOST.replace('mnt', 'tnm')]) {
      const far = await ask(other);
      expect(far.head['files']).toBeUndefined();
      expect(far.frames.map(frame => frame.length)).toEqual([2, BYTES]);
    }
  });

  test('links only to files of Taskloom', () => {
    const secret = join(ours, '..', '..', `taskloom-test-${process.pid}`);
    writeFileSync(secret, 'secret');
    symlinkSync(secret, join(theirs, 'link'));
    try {
      for (const path of [secret, '/etc/hostname', `${theirs}/../../x`, join(theirs, 'link')]) {
        expect(() => linkFiles([ours], 'plain', [path], '')).toThrow(/no file that a process/);
      }
      expect(readdirSync(ours)).toEqual([]);
    } finally {
      rmSync(secret);
    }
  });

  test('names that nobody asked for, or too few of them, are refused', () => {
    const columns = { tids: [1], keys: ['k'], families: ['plain'], counts: [1], types: [''] };
    const head = { ...columns, files: [join(theirs, 'x')] };
    expect(() => readValues({ head, frames: [] })).toThrow(/did not ask/);
    const more = { head: { ...head, files: [null, null] }, frames: [new Uint8Array(1)] };
    expect(() => readValues(more, [ours])).toThrow(/column of files/);
  });

  test('that the peer lets go of before it is linked to comes by the socket', async () => {
    const store = new MemoryStore();
    store.put(1, made(theirs, 9));
    const server = new CommServer({ token: 't', host: '127.0.0.1', port: 0, insecure: true });
    const real = service(store, HOST);
    let asked = 0;
    server.data(async (message, from) => {
      asked++;
      const answer = await real.handle(message, from);
      // What it names has another name by the time the answer arrives.
      if (message.head['host'] !== undefined) {
        answer.head['files'] = [null, join(theirs, 'gone')];
      }
      return answer;
    });
    const mine = new MemoryStore();
    const heard: { op: string }[] = [];
    const gatherer = new Gatherer({
      token: 't',
      epoch: '',
      store: mine,
      sharing: { host: HOST, folders: [ours] },
      keyOf: () => 'k1',
      onEvent: event => heard.push(event),
      onTransfer: () => undefined,
      onLog: () => undefined
    });
    gatherer.addPeer(5, await server.listen());
    await gatherer.gather({ op: 'gather', worker: 5, tids: [1], nbytes: BYTES });
    expect(heard.map(({ op }) => op)).toEqual(['gather-success']);
    expect(asked).toBe(2);
    expect(mine.get(1)).not.toBeInstanceOf(FiledValue);
    expect(mine.get(1)?.frames[1]?.every(byte => byte === 9)).toBe(true);
    gatherer.close();
    await server.close();
  });
});
