/** How far the tasks of one graph have come, for bars of clients that want only its last results. */
import type { Binding, ClientRecord } from './clients.ts';

/** Columns, an entry for each name; tasks that the scheduler has forgotten are in none. */
export interface GraphProgress {
  names: string[];
  waiting: number[];
  processing: number[];
  memory: number[];
  erred: number[];
}

/** Counts the tasks that a client has numbered so, by what they are called. */
export function graphProgress(client: ClientRecord, first: number, count: number): GraphProgress {
  const told: GraphProgress = { names: [], waiting: [], processing: [], memory: [], erred: [] };
  const places = new Map<string, number>();
  for (const { task } of bindingsOf(client, first, count)) {
    const { name } = task.group.prefix;
    let at = places.get(name);
    if (at === undefined) {
      places.set(name, (at = told.names.push(name) - 1));
      for (const column of [told.waiting, told.processing, told.memory, told.erred]) column.push(0);
    }
    const { state } = task;
    const counted = state === 'processing' || state === 'memory' || state === 'erred';
    told[counted ? state : 'waiting'][at]!++;
  }
  return told;
}

/** At most as many steps as the client has numbers, whatever it asks for. */
function* bindingsOf(client: ClientRecord, first: number, count: number): Generator<Binding> {
  const { bindings } = client;
  if (count > bindings.size) {
    for (const one of bindings.values()) if (one.cid >= first && one.cid < first + count) yield one;
    return;
  }
  for (let cid = first; cid < first + count; cid++) {
    const binding = bindings.get(cid);
    if (binding !== undefined) yield binding;
  }
}
