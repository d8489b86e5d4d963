/** One real local cluster and client for a test file, in a runtime folder of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import type { LocalClusterOptions } from '../../src/deploy/local.ts';

export interface Pair {
  cluster: LocalCluster;
  client: Client;
}

export function withCluster(
  options: LocalClusterOptions = { workers: 2, threadsPerWorker: 1 }
): Pair {
  const pair = {} as Pair;
  const folder = mkdtempSync(join(tmpdir(), 'taskloom-test-'));
  const before = process.env['TASKLOOM_RUNTIME_DIR'];
  beforeAll(async () => {
    process.env['TASKLOOM_RUNTIME_DIR'] = folder;
    pair.cluster = await LocalCluster.create(options);
    pair.client = await Client.connect(pair.cluster);
  }, 60_000);
  afterAll(async () => {
    await pair.client?.close();
    await pair.cluster?.close();
    if (before === undefined) delete process.env['TASKLOOM_RUNTIME_DIR'];
    else process.env['TASKLOOM_RUNTIME_DIR'] = before;
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);
  return pair;
}

export const sleep = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms));
