/** A dump of a real cluster: taken by client and command, read offline, without secrets. */
import { execFile } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { commandPath, nodePath, packageVersion } from '../../src/config/runtime.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { readDump } from '../../src/diagnostics/dump.ts';
import { decode, encode } from '../../src/protocol/codec.ts';
import { ownRuntimeFolder } from '../deploy/processes.ts';

ownRuntimeFolder();

const run = promisify(execFile);
const taskloom = async (...args: string[]): Promise<string> =>
  (await run(nodePath(), [commandPath(), ...args])).stdout;

describe('a dump', () => {
  it('holds the state of scheduler and workers, and is read when the cluster is gone', async () => {
    const folder = process.env['TASKLOOM_RUNTIME_DIR'] as string;
    const [file, other] = [join(folder, 'a.dump'), join(folder, 'b.dump')];
    const options = { name: 'dumped', workers: 2, threadsPerWorker: 1, memoryLimit: 0 };
    const cluster = await LocalCluster.create(options);
    const client = await Client.connect(cluster, { name: 'me' });
    const done = client.with({ key: 'the-sum' }).submit((a: number, b: number) => a + b, 1, 2);
    await done.result();
    const failed = client.with({ key: 'the-failure' }).submit(() => {
      throw new Error('no luck');
    });
    await expect(failed.result()).rejects.toThrow('no luck');
    const stuck = client.with({ workers: 'nowhere', key: 'the-stuck' }).submit(() => 1);
    const said = client.submit(
      (token: string) => console.log(`somebody prints a secret: ${token}`),
      cluster.token
    );
    await said.result();
    await expect.poll(() => client.explain(stuck)).toContain('nowhere');
    await client.dumpClusterState(file);
    expect(await taskloom('dump', 'dumped', other)).toMatch(/b.dump: .* Look at it with: taskloom/);
    await client.close();
    await cluster.close();

    for (const one of [file, other]) {
      expect((await stat(one)).mode & 0o777).toBe(0o600);
      const bytes = await readFile(one);
      const plain = gunzipSync(bytes).toString('latin1');
      expect(plain).not.toContain(cluster.token);
      expect(plain).toContain('somebody prints a secret: [redacted]');
      const dump = readDump(bytes);
      expect(Object.keys(dump.workers).sort()).toEqual(['worker-0', 'worker-1']);
      expect(dump.versions[0]).toMatchObject({
        who: 'scheduler',
        versions: { taskloom: packageVersion() }
      });
      expect(dump.scheduler.explanations['the-stuck']).toContain('one of the workers nowhere');
    }
    const summary = await taskloom('dump', 'show', file);
    expect(summary).toContain('Cluster dumped (local, http://');
    expect(summary).toMatch(/Workers: 2\n(.*\n)? {2}worker-0 \(http:.*running, 1 threads/);
    expect(summary).toMatch(/the-stuck: cannot run now/);
    expect(summary).toMatch(/Failed: 1\n {2}the-failure: Error: no luck/);
    expect(summary).toContain('Clients: me (');

    const key = await taskloom('dump', 'show', file, '--key', 'the-sum');
    expect(key).toMatch(/^the-sum: memory\n/);
    expect(key).toMatch(/scheduler: waiting -> processing/);
    expect(key).toMatch(/worker-\d: executing -> memory/);
    const story = await taskloom('dump', 'show', file, '--story', 'the-failure');
    expect(story).toMatch(/worker-\d: executing -> error/);
    const worker = await taskloom('dump', 'show', file, '--worker', 'worker-1');
    expect(worker).toMatch(/^worker-1 \(http:.*\nOf itself: \{.*"nthreads":1/);
    await expect(taskloom('dump', 'show', file, '--key', 'no-such')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('knows no key no-such') as string
    });
  }, 60_000);

  it('of another version, and what is no dump, are refused by name', async () => {
    const file = join(process.env['TASKLOOM_RUNTIME_DIR'] as string, 'x.dump');
    const packed = (value: unknown): Buffer => gzipSync(encode(value));
    expect(() => readDump(packed({ format: 'taskloom-dump', version: 99 }))).toThrow(
      /This dump has version 99, this taskloom reads 1/
    );
    expect(() => readDump(packed({ format: 'else' }))).toThrow(
      'This file is no dump of a cluster.'
    );
    await writeFile(file, 'plain text');
    await expect(taskloom('dump', 'show', file)).rejects.toMatchObject({
      stderr: expect.stringContaining('not gzip of msgpack') as string
    });
    expect(decode(gunzipSync(packed([1])))).toEqual([1]);
  });
});
