/** Workers: memory, CPU of the last minute, tasks, traffic; state in shape, colour and words. */
import { useState } from 'react';
import type { ReactElement } from 'react';

import { sparkline } from '../draw/sparkline.ts';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
  formatRatePair
} from '../model/format.ts';
import { summariseWorkers } from '../model/summary.ts';
import { HISTORY_MS, memoryShare } from '../model/workers.ts';
import type { Vitals, WorkerRow } from '../model/workers.ts';
import { PanelFrame } from './frame.tsx';
import type { ViewProps } from './panel.ts';
import type { Words } from './words.ts';

/** Rows drawn at once; more are one click away. */
const ROWS_MOST = 100;

/** The panel. */
export function Workers(props: ViewProps): ReactElement {
  const { store, words } = props;
  const [all, setAll] = useState(false);
  const rows = store.workers.rows({ gone: store.status === 'ended' });
  const shown = all ? rows : rows.slice(0, ROWS_MOST);
  const totals = store.workers.totals();
  return (
    <PanelFrame
      {...props}
      id="workers"
      title={words.__('Workers')}
      summary={() => summariseWorkers(store)}
      note={words.__('%1 workers · %2 threads', formatCount(totals.workers), totals.threads)}
      drawing={
        rows.length === 0 ? (
          <p className="tl-empty">{words.__('No workers yet.')}</p>
        ) : (
          <div className="tl-table-scroll">
            <WorkerRows
              rows={shown}
              now={store.now}
              ended={store.status === 'ended'}
              words={words}
            />
            {shown.length < rows.length ? (
              <button type="button" className="tl-link" onClick={() => setAll(true)}>
                {words.__('Show all %1 workers', formatCount(rows.length))}
              </button>
            ) : null}
          </div>
        )
      }
      table={() => <WorkersTable {...props} rows={rows} />}
    />
  );
}

interface RowsProps {
  rows: readonly WorkerRow[];
  now: number;
  /** The cluster has ended: nobody runs any more. */
  ended: boolean;
  words: Words;
}

function WorkerRows({ rows, now, ended, words }: RowsProps): ReactElement {
  return (
    <table className="tl-table tl-workers">
      <thead>
        <tr>
          <th scope="col">{words.__('worker')}</th>
          <th scope="col">{words.__('memory')}</th>
          <th scope="col">{words.__('CPU, 60 s')}</th>
          <th
            scope="col"
            className="tl-number"
            title={words.__('executing + waiting on the worker')}
          >
            {words.__('tasks')}
          </th>
          <th scope="col" className="tl-number tl-traffic">
            {words.__('in ⇄ out')}
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map(row => (
          <WorkerLine key={row.info.worker} row={row} now={now} ended={ended} words={words} />
        ))}
      </tbody>
    </table>
  );
}

function WorkerLine({
  row,
  now,
  ended,
  words
}: Omit<RowsProps, 'rows'> & { row: WorkerRow }): ReactElement {
  const { info, vitals } = row;
  const state =
    ended && row.gone === null
      ? { shape: 'ended', text: words.__('there to the end') }
      : stateOf(row, words);
  const where = `${info.address} · ${info.host} · pid ${info.pid}`;
  const name = (
    <>
      <span className={`tl-dot tl-dot-${state.shape}`} aria-hidden="true" />
      {info.name} <span className="tl-muted">{state.text}</span>
    </>
  );
  if (row.gone !== null) {
    // Its reason is what is left to know, and may be long: it takes the place of the figures.
    return (
      <tr title={where}>
        <th scope="row" colSpan={5} className="tl-worker-name tl-worker-gone">
          {name}
        </th>
      </tr>
    );
  }
  return (
    <tr title={where}>
      <th scope="row" className="tl-worker-name">
        {name}
      </th>
      <td>{vitals === null ? null : <MemoryBar row={row} vitals={vitals} words={words} />}</td>
      <td>
        {vitals === null ? null : <CpuCurve row={row} vitals={vitals} now={now} words={words} />}
      </td>
      <td className="tl-number">
        {vitals === null
          ? ''
          : `${vitals.executing} + ${Math.max(0, vitals.processing - vitals.executing)}`}
      </td>
      <td className="tl-number tl-muted tl-traffic">{vitals === null ? '' : trafficOf(vitals)}</td>
    </tr>
  );
}

function trafficOf(vitals: Vitals): string {
  if (vitals.netIn < 1 && vitals.netOut < 1) return '–';
  return formatRatePair(vitals.netIn, vitals.netOut);
}

function stateOf(row: WorkerRow, words: Words): { shape: string; text: string } {
  if (row.gone !== null) return { shape: 'ended', text: words.__('gone: %1', row.gone.reason) };
  if (row.vitals === null) return { shape: 'starting', text: words.__('starting') };
  if (row.vitals.status === 'closing') return { shape: 'ended', text: words.__('closing') };
  const share = Math.round(100 * memoryShare(row));
  if (row.vitals.status === 'paused') {
    return { shape: 'starting', text: words.__('paused: memory %1 %', share) };
  }
  if (share > 80) return { shape: 'running', text: words.__('running, memory %1 %', share) };
  return { shape: 'running', text: words.__('running') };
}

interface VitalsProps {
  row: WorkerRow;
  vitals: Vitals;
  words: Words;
}

function MemoryBar({ row, vitals, words }: VitalsProps): ReactElement {
  const limit = row.info.memoryLimit;
  const whole = limit > 0 ? limit : Math.max(vitals.rss + vitals.spilled, 1) * 1.3;
  const part = (bytes: number): string =>
    `${Math.max(0, Math.min(100, (100 * bytes) / whole)).toFixed(1)}%`;
  const managed = Math.min(vitals.managed, vitals.rss);
  const full = memoryShare(row) > 0.8 || vitals.status === 'paused';
  const text =
    (limit > 0
      ? words.__('%1 of %2', formatBytes(vitals.rss), formatBytes(limit))
      : formatBytes(vitals.rss)) +
    words.__(', %1 results', formatBytes(vitals.managed)) +
    (vitals.spilled > 0 ? words.__(', %1 on disk', formatBytes(vitals.spilled)) : '');
  return (
    <span className="tl-memory-cell" title={text}>
      <span
        className={`tl-memory${full ? ' tl-memory-full' : ''}`}
        role="meter"
        aria-label={words.__('memory of %1', row.info.name)}
        aria-valuemin={0}
        aria-valuemax={Math.round(whole)}
        aria-valuenow={Math.round(vitals.rss)}
        aria-valuetext={text}
      >
        <i className="tl-memory-managed" style={{ width: part(managed) }} />
        <i className="tl-memory-other" style={{ width: part(vitals.rss - managed) }} />
        <i className="tl-memory-spilled" style={{ width: part(vitals.spilled) }} />
      </span>
      <span className="tl-memory-text">{formatBytes(vitals.rss)}</span>
    </span>
  );
}

const CURVE = { width: 84, height: 18 };

function CpuCurve(props: VitalsProps & { now: number }): ReactElement {
  const { row, vitals, now, words } = props;
  const top = 100 * Math.max(1, row.info.threads);
  const path = sparkline(
    row.history.map(sample => ({ time: sample.time, value: sample.cpu })),
    { ...CURVE, t0: now - HISTORY_MS, t1: now, top }
  );
  return (
    <span className="tl-cpu">
      <svg
        width={CURVE.width}
        height={CURVE.height}
        role="img"
        aria-label={words.__('CPU %1 %', Math.round(vitals.cpu))}
      >
        <path d={path} className="tl-spark" />
      </svg>
      <span className="tl-cpu-text">{Math.round(vitals.cpu)} %</span>
    </span>
  );
}

function WorkersTable(props: ViewProps & { rows: readonly WorkerRow[] }): ReactElement {
  const { words, rows, store } = props;
  const heads = [
    words.__('CPU %'),
    words.__('resident'),
    words.__('results'),
    words.__('on disk'),
    words.__('limit'),
    words.__('executing'),
    words.__('processing'),
    words.__('in memory'),
    words.__('in'),
    words.__('out'),
    words.__('loop delay'),
    words.__('age')
  ];
  return (
    <table className="tl-table">
      <caption>{words.__('Workers')}</caption>
      <thead>
        <tr>
          <th scope="col">{words.__('worker')}</th>
          <th scope="col">{words.__('state')}</th>
          <th scope="col">{words.__('address')}</th>
          {heads.map(head => (
            <th scope="col" className="tl-number" key={head}>
              {head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map(row => (
          <tr key={row.info.worker}>
            <th scope="row">{row.info.name}</th>
            <td>{stateOf(row, words).text}</td>
            <td>{row.info.address}</td>
            {cellsOf(row, store.now).map((cell, i) => (
              <td className="tl-number" key={heads[i]}>
                {cell}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function cellsOf(row: WorkerRow, now: number): string[] {
  const { vitals, info } = row;
  const limit = info.memoryLimit > 0 ? formatBytes(info.memoryLimit) : '–';
  const age = formatDuration(Math.max(0, now - info.startedAt));
  if (vitals === null) return ['', '', '', '', limit, '', '', '', '', '', '', age];
  return [
    String(Math.round(vitals.cpu)),
    formatBytes(vitals.rss),
    formatBytes(vitals.managed),
    formatBytes(vitals.spilled),
    limit,
    formatCount(vitals.executing),
    formatCount(vitals.processing),
    formatCount(vitals.inMemory),
    formatRate(vitals.netIn),
    formatRate(vitals.netOut),
    formatDuration(vitals.loopDelay),
    age
  ];
}
