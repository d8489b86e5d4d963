/**
 * What a cluster must look like when all faults are over and every result has been let go: nothing
 * is known, run or held anywhere.
 */
import type { Client } from '../../src/client/client.ts';
import { sleep } from './load.ts';
import type { Setting } from './setting.ts';

interface WorkerFacts {
  name: string;
  inMemory: number;
  managed: number;
  states: Record<string, number>;
}

/** Waits for it; sentences on what is left after `limitMs`. */
export async function leftAtRest(
  setting: Setting,
  client: Client,
  limitMs: number
): Promise<string[]> {
  const end = Date.now() + limitMs;
  for (;;) {
    const left = await look(setting, client);
    if (left.length === 0 || Date.now() > end) return left;
    await sleep(250);
  }
}

async function look(setting: Setting, client: Client): Promise<string[]> {
  const left: string[] = [];
  const whoHas = await client.whoHas();
  for (const key of Object.keys(whoHas).slice(0, 10)) {
    const story = await client.story(key);
    const steps = story.slice(-8).map(line => `${line.start}-${line.finish} (${line.stimulus})`);
    left.push(`the scheduler still knows ${key}: ${steps.join(', ')}`);
  }
  for (const [worker, keys] of Object.entries(await client.processing())) {
    if (keys.length > 0) left.push(`${worker} still has to run ${keys.slice(0, 10).join(', ')}`);
  }
  for (const address of Object.keys((await client.schedulerInfo()).members)) {
    const facts = await workerFacts(address, setting.cluster.token);
    const tasks = Object.entries(facts.states).filter(([, count]) => count > 0);
    if (tasks.length > 0) {
      left.push(`${facts.name} still has tasks: ${tasks.map(pair => pair.join(' ')).join(', ')}`);
    }
    if (facts.inMemory > 0 || facts.managed > 0) {
      left.push(`${facts.name} still holds ${facts.inMemory} values of ${facts.managed} bytes`);
    }
  }
  return left;
}

async function workerFacts(address: string, token: string): Promise<WorkerFacts> {
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(`${address}/info`, { headers, signal: AbortSignal.timeout(10_000) });
  return (await answer.json()) as WorkerFacts;
}
