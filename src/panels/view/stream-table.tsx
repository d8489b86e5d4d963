/** The task stream as a table: time by function in the view, then its newest bars. */
import type { ReactElement } from 'react';

import { formatCount, formatDuration } from '../model/format.ts';
import type { FeedStore } from '../model/store.ts';
import type { Bar } from '../model/stream.ts';
import type { Words } from './words.ts';

const NEWEST = 200;

interface FunctionTime {
  fn: number;
  count: number;
  erred: number;
  total: number;
  longest: number;
  transfer: number;
}

/** Sums by function and the newest bars of a time range. */
export function tabulate(
  store: FeedStore,
  t0: number,
  t1: number
): { functions: FunctionTime[]; newest: Bar[] } {
  const sums = new Map<number, FunctionTime>();
  const bars: Bar[] = [];
  store.stream.lanes.forEach((_, laneId) => {
    const first = bars.length;
    for (const slot of store.stream.slotsIn(laneId, t0, t1)) {
      const bar = store.stream.bar(slot);
      if (bar.start + bar.duration < t0) continue;
      add(sums, bar);
      bars.push(bar);
      if (bars.length - first > 2 * NEWEST) bars.splice(first, NEWEST);
    }
  });
  return {
    functions: [...sums.values()].sort((a, b) => b.total - a.total),
    newest: bars.sort((a, b) => b.start - a.start).slice(0, NEWEST)
  };
}

function add(sums: Map<number, FunctionTime>, bar: Bar): void {
  let sum = sums.get(bar.fn);
  if (sum === undefined) {
    sum = { fn: bar.fn, count: 0, erred: 0, total: 0, longest: 0, transfer: 0 };
    sums.set(bar.fn, sum);
  }
  if (bar.kind === 'compute' || bar.kind === 'erred') {
    sum.count += 1;
    sum.total += bar.duration;
    sum.longest = Math.max(sum.longest, bar.duration);
    if (bar.kind === 'erred') sum.erred += 1;
  } else if (bar.kind === 'transfer') sum.transfer += bar.duration;
}

interface StreamTableProps {
  store: FeedStore;
  words: Words;
  range: [number, number];
}

/** The table twin of the task stream. */
export function StreamTable({ store, words, range }: StreamTableProps): ReactElement {
  const { functions, newest } = tabulate(store, ...range);
  return (
    <>
      <table className="tl-table">
        <caption>{words.__('Time by function, %1', formatDuration(range[1] - range[0]))}</caption>
        <thead>
          <tr>
            <th scope="col">{words.__('function')}</th>
            <th scope="col" className="tl-number">
              {words.__('tasks')}
            </th>
            <th scope="col" className="tl-number">
              {words.__('erred')}
            </th>
            <th scope="col" className="tl-number">
              {words.__('time')}
            </th>
            <th scope="col" className="tl-number">
              {words.__('mean')}
            </th>
            <th scope="col" className="tl-number">
              {words.__('longest')}
            </th>
            <th scope="col" className="tl-number">
              {words.__('transfer')}
            </th>
          </tr>
        </thead>
        <tbody>
          {functions.map(row => (
            <tr key={row.fn}>
              <th scope="row">{store.nameOf(row.fn)}</th>
              <td className="tl-number">{formatCount(row.count)}</td>
              <td className="tl-number">{formatCount(row.erred)}</td>
              <td className="tl-number">{formatDuration(row.total)}</td>
              <td className="tl-number">
                {row.count === 0 ? '' : formatDuration(row.total / row.count)}
              </td>
              <td className="tl-number">{formatDuration(row.longest)}</td>
              <td className="tl-number">{formatDuration(row.transfer)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <table className="tl-table">
        <caption>{words.__('Newest bars')}</caption>
        <thead>
          <tr>
            <th scope="col">{words.__('start')}</th>
            <th scope="col">{words.__('worker')}</th>
            <th scope="col">{words.__('function')}</th>
            <th scope="col">{words.__('kind')}</th>
            <th scope="col" className="tl-number">
              {words.__('duration')}
            </th>
          </tr>
        </thead>
        <tbody>
          {newest.map(bar => (
            <tr key={bar.slot}>
              <td>+{formatDuration(bar.start - store.overview.origin)}</td>
              <td>{store.workerName(bar.worker)}</td>
              <td>{store.nameOf(bar.fn)}</td>
              <td>{bar.kind}</td>
              <td className="tl-number">{formatDuration(bar.duration)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
