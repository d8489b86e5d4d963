/** Copies of messages, as serialising makes them, and messages and events in one short line. */

/** A message as the other side gets it: columns are its own, what is never written is shared. */
export function copyMessage<M extends { op: string }>(message: M): M {
  const copy: Record<string, unknown> = { ...message };
  for (const name in copy) {
    const field = copy[name];
    if (Array.isArray(field)) {
      copy[name] = (field as unknown[]).map(one =>
        Array.isArray(one) ? [...(one as unknown[])] : one
      );
    }
  }
  return copy as M;
}

/** Fields that tell which tasks, runs, keys and workers a message is about. */
const SHORT: Record<string, string> = {
  tid: 't',
  tids: 't',
  runId: 'r',
  runIds: 'r',
  cids: 'c',
  first: 'c',
  keys: 'k',
  worker: 'f',
  holders: 'f',
  added: '+',
  removed: '-',
  status: ''
};

/** The op and what tells which tasks. */
export function describe(message: { op: string }): string {
  const fields = message as Record<string, unknown>;
  let line = message.op;
  for (const name in fields) {
    const short = SHORT[name];
    if (short !== undefined) line += ` ${short}=${text(fields[name])}`;
  }
  return line;
}

function text(field: unknown): string {
  if (!Array.isArray(field)) return String(field);
  return (field as unknown[])
    .map(one => {
      if (Array.isArray(one)) return `[${one.join()}]`;
      if (typeof one === 'object' && one !== null && 'worker' in one) return String(one.worker);
      return String(one);
    })
    .join();
}
