/** Progress: how far each function's tasks are, failures named beside the bar. */
import type { ReactElement } from 'react';

import { formatCount } from '../model/format.ts';
import { doneOf, totalOf } from '../model/progress.ts';
import type { FunctionCounts } from '../model/progress.ts';
import { summariseProgress } from '../model/summary.ts';
import { ProgressBars } from './bars.tsx';
import type { BarRow } from './bars.tsx';
import { PanelFrame } from './frame.tsx';
import type { ViewProps } from './panel.ts';

/** The panel. */
export function Progress(props: ViewProps): ReactElement {
  const { store, words } = props;
  const rows = store.progress.rows();
  const totals = store.progress.totals();
  return (
    <PanelFrame
      {...props}
      id="progress"
      title={words.__('Progress')}
      summary={() => summariseProgress(store)}
      note={
        totals.total === 0
          ? undefined
          : words.__('%1 / %2 tasks', formatCount(totals.done), formatCount(totals.total))
      }
      drawing={
        rows.length === 0 ? (
          <p className="tl-empty">{words.__('No tasks yet.')}</p>
        ) : (
          <div className="tl-progress-scroll">
            <ProgressBars rows={rows.map(row => barOf(row, props))} label={words.__('Progress')} />
            <StateLegend {...props} />
          </div>
        )
      }
      table={() => <ProgressTableView {...props} rows={rows} />}
    />
  );
}

function barOf(row: FunctionCounts, { store, palette, words }: ViewProps): BarRow {
  const name = store.nameOf(row.fn);
  const total = totalOf(row);
  const parts = [`${formatCount(doneOf(row))} / ${formatCount(total)}`];
  if (row.erred > 0) parts.push(words.__('%1 failed', formatCount(row.erred)));
  if (row.processing > 0) parts.push(words.__('%1 processing', formatCount(row.processing)));
  else if (row.queued > 0) parts.push(words.__('%1 queued', formatCount(row.queued)));
  else if (row.waiting > 0) parts.push(words.__('waits'));
  return {
    name,
    colour: palette.cssOf(name),
    total,
    released: row.released,
    memory: row.memory,
    erred: row.erred,
    cancelled: 0,
    processing: row.processing,
    text: parts.join(' · ')
  };
}

function StateLegend({ words }: ViewProps): ReactElement {
  return (
    <ul className="tl-legend" aria-label={words.__('States')}>
      <li>
        <i className="tl-swatch tl-swatch-memory" aria-hidden="true" />
        {words.__('in memory')}
      </li>
      <li>
        <i className="tl-swatch tl-swatch-released" aria-hidden="true" />
        {words.__('released')}
      </li>
      <li>
        <i className="tl-swatch tl-swatch-processing" aria-hidden="true" />
        {words.__('processing')}
      </li>
      <li>
        <i className="tl-swatch tl-swatch-erred" aria-hidden="true" />
        {words.__('failed')}
      </li>
    </ul>
  );
}

function ProgressTableView(props: ViewProps & { rows: FunctionCounts[] }): ReactElement {
  const { words, store, rows } = props;
  const states = ['waiting', 'queued', 'processing', 'memory', 'released', 'erred'] as const;
  return (
    <table className="tl-table">
      <caption>{words.__('Tasks by function and state')}</caption>
      <thead>
        <tr>
          <th scope="col">{words.__('function')}</th>
          {states.map(state => (
            <th scope="col" className="tl-number" key={state}>
              {words.__(state)}
            </th>
          ))}
          <th scope="col" className="tl-number">
            {words.__('total')}
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(row => (
          <tr key={row.fn}>
            <th scope="row">{store.nameOf(row.fn)}</th>
            {states.map(state => (
              <td className="tl-number" key={state}>
                {formatCount(row[state])}
              </td>
            ))}
            <td className="tl-number">{formatCount(totalOf(row))}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
