/** A client of a chaos run that submits some tasks and is then killed from outside. */
import { Client } from '../../src/client/client.ts';
import { work } from './tasks.ts';
import type { Spec } from './tasks.ts';

const [, , address, folder = ''] = process.argv;
const client = await Client.connect(address, { name: 'passer-by' });
const futures = Array.from({ length: 40 }, (_, i) => {
  const spec: Spec = {
    id: `passer-by-${process.pid}-${i}`,
    salt: i,
    kind: i % 2 === 0 ? 'sleeps' : 'quick',
    ms: 50 * i,
    nbytes: i % 5 === 0 ? 4_000_000 : 0,
    times: 0,
    folder
  };
  return client.with({ key: spec.id }).submit(work, spec);
});
await futures[1]?.result();
process.stdout.write('tasks run\n');
await client.gather(futures);
await new Promise(resolve => setTimeout(resolve, 60_000));
