/**
 * Progress bars, shared by the progress panel and by the output under a cell: one row a function;
 * solid = finished and held, pale = finished and let go of, a black end = failed. Numbers stand
 * beside the bar, so that nothing hangs on colour alone.
 */
import type { ReactElement } from 'react';

/** One bar. Parts need not add up to `total`: the rest is the track. */
export interface BarRow {
  name: string;
  /** CSS colour of the function. */
  colour: string;
  total: number;
  released: number;
  memory: number;
  erred: number;
  cancelled: number;
  processing: number;
  /** What stands right of the bar. */
  text: string;
}

/** Rows of bars. */
export function ProgressBars(props: { rows: readonly BarRow[]; label: string }): ReactElement {
  return (
    <div className="tl-bars" role="list" aria-label={props.label}>
      {props.rows.map(row => (
        <div className="tl-bar-row" role="listitem" key={row.name}>
          <span className="tl-bar-name" title={row.name}>
            {row.name}
          </span>
          <Bar row={row} />
          <BarText text={row.text} />
        </div>
      ))}
    </div>
  );
}

function Bar({ row }: { row: BarRow }): ReactElement {
  const done = row.memory + row.released;
  const part = (count: number): string => `${row.total > 0 ? (100 * count) / row.total : 0}%`;
  return (
    <span
      className="tl-bar"
      role="progressbar"
      aria-label={row.name}
      aria-valuemin={0}
      aria-valuemax={row.total}
      aria-valuenow={done}
      aria-valuetext={row.text}
    >
      <i
        className="tl-bar-released"
        style={{ width: part(row.released), background: row.colour }}
      />
      <i className="tl-bar-memory" style={{ width: part(row.memory), background: row.colour }} />
      <i className="tl-bar-erred" style={{ width: part(row.erred) }} />
      <i className="tl-bar-cancelled" style={{ width: part(row.cancelled) }} />
      <i
        className="tl-bar-processing"
        style={{ width: part(row.processing), borderColor: row.colour }}
      />
    </span>
  );
}

/** `132 / 240 · 9 failed` with the failure in the colour of failures. */
function BarText({ text }: { text: string }): ReactElement {
  const [counts, ...rest] = text.split(' · ');
  return (
    <span className="tl-bar-text">
      {counts}
      {rest.map(part => (
        <span key={part}>
          {' · '}
          <span className={/failed/.test(part) ? 'tl-error-text' : 'tl-muted'}>{part}</span>
        </span>
      ))}
    </span>
  );
}
