/** Progress under a cell: the drawing of a progress bundle, live or as the file keeps it. */
import type { ReactElement } from 'react';

import type { Palette } from '../panels/model/colour.ts';
import { formatSeconds } from '../panels/model/format.ts';
import { countsOf } from '../panels/model/summary.ts';
import { ProgressBars } from '../panels/view/bars.tsx';
import type { BarRow } from '../panels/view/bars.tsx';
import type { Words } from '../panels/view/words.ts';
import type { ProgressBundle, ProgressRow } from '../protocol/progress.ts';

interface OutputProps {
  bundle: ProgressBundle;
  palette: Palette;
  words: Words;
  /** The file says that it runs, but its cluster is gone. */
  stale: boolean;
}

/** Whether something is a bundle that this version can draw. */
export function isProgressBundle(value: unknown): value is ProgressBundle {
  const bundle = value as Partial<ProgressBundle> | null | undefined;
  return typeof bundle === 'object' && bundle?.version === 1 && Array.isArray(bundle.rows);
}

/** The drawing. */
export function ProgressOutput({ bundle, palette, words, stale }: OutputProps): ReactElement {
  return (
    <div className="tl-progress-output" data-tl-progress={bundle.id} data-tl-state={bundle.state}>
      <ProgressBars
        rows={bundle.rows.map(row => barOf(row, palette))}
        label={words.__('Progress on %1', bundle.cluster.name)}
      />
      <div className="tl-progress-line" role="status">
        {lineOf(bundle, stale, words)}
        {bundle.note === null ? null : (
          <span className={bundle.state === 'running' ? 'tl-warn-text' : 'tl-error-text'}>
            {' · '}
            {bundle.note}
          </span>
        )}
      </div>
    </div>
  );
}

function barOf(row: ProgressRow, palette: Palette): BarRow {
  return {
    name: row.name,
    colour: palette.cssOf(row.name),
    total: row.total,
    released: 0,
    memory: row.done,
    erred: row.erred,
    cancelled: row.cancelled,
    processing: row.processing,
    text: countsOf(row)
  };
}

/** `11.4 s · about 6 s left`, `done in 12.0 s`, … */
export function lineOf(bundle: ProgressBundle, stale: boolean, words: Words): string {
  const time = formatSeconds(bundle.elapsed);
  switch (bundle.state) {
    case 'finished':
      return words.__('done in %1', time);
    case 'erred':
      return words.__('failed after %1', time);
    case 'cancelled':
      return words.__('cancelled after %1', time);
    case 'lost':
      return words.__('connection lost after %1', time);
    default:
      if (stale) return words.__('interrupted: the cluster is gone; last seen after %1', time);
      if (bundle.left === null) return time;
      return words.__('%1 · about %2 left', time, formatSeconds(bundle.left));
  }
}
