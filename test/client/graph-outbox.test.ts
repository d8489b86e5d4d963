import { expect, it } from 'vitest';
import { GraphOutbox } from '../../src/client/graph-outbox.ts';
import type { ClientToScheduler } from '../../src/protocol/messages.ts';
import { NO_TASK_OPTIONS } from '../../src/protocol/task-options.ts';

function send(tasks: { cid: number; deps: number[]; parent?: number }[]): ClientToScheduler[] {
  const sent: ClientToScheduler[] = [];
  const outbox = new GraphOutbox(
    message => sent.push(message),
    () => undefined
  );
  for (const { cid, deps, parent = 0 } of tasks) {
    outbox.task(
      { cid, key: `k-${cid}`, fn: 1, args: new Uint8Array(1), deps, parent },
      NO_TASK_OPTIONS,
      100
    );
  }
  outbox.flush();
  return sent;
}

it('says in which order tasks of one message are best run', () => {
  const loads = [10, 11, 12].map(cid => ({ cid, deps: [3] }));
  const steps = [13, 14, 15].map(cid => ({ cid, deps: [cid - 3] }));
  expect(send([...loads, ...steps])).toMatchObject([{ order: [0, 2, 4, 1, 3, 5] }]);
});

it('says nothing of tasks that do not depend on each other, or are in the best order', () => {
  const alone = send([10, 11, 12].map(cid => ({ cid, deps: [3] })));
  const chain = send([10, 11, 12].map(cid => ({ cid, deps: cid === 10 ? [] : [cid - 1] })));
  for (const [message] of [alone, chain]) expect(message).not.toHaveProperty('order');
});

it('keeps what different tasks submit apart', () => {
  const sent = send([
    { cid: 10, deps: [], parent: 7 },
    { cid: 11, deps: [], parent: 7 },
    { cid: 12, deps: [], parent: 8 },
    { cid: 13, deps: [] }
  ]);
  expect(sent).toMatchObject([
    { first: 10, keys: ['k-10', 'k-11'], parent: 7 },
    { first: 12, parent: 8 },
    { first: 13 }
  ]);
  expect(sent[2]).not.toHaveProperty('parent');
});
