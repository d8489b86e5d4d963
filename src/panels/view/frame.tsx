/**
 * What all panels have in common: a thin header with the cluster and its state in words, the
 * switch between drawing and table (key `t`), a summary for screen readers, and the last state
 * of a cluster that has gone with the reason why.
 */
import { useState } from 'react';
import type { KeyboardEvent, ReactElement, ReactNode } from 'react';

import type { FeedStore } from '../model/store.ts';
import { useCalmText } from './hooks.ts';
import type { PanelProps } from './panel.ts';
import type { Words } from './words.ts';

interface FrameProps extends PanelProps {
  store: FeedStore;
  id: string;
  title: string;
  /** Right of the header, before the table switch. */
  controls?: ReactNode;
  /** Between the cluster's name and the controls. */
  note?: ReactNode;
  summary: () => string;
  drawing: ReactNode;
  table: () => ReactNode;
}

/** A panel around its drawing and its table. */
export function PanelFrame(props: FrameProps): ReactElement {
  const { store, words, id, title } = props;
  const [asTable, setAsTable] = useState(false);
  const summary = useCalmText(props.summary);
  const onKeyDown = (event: KeyboardEvent): void => {
    const inField = event.target instanceof HTMLInputElement;
    if (event.key !== 't' || event.ctrlKey || event.metaKey || event.altKey || inField) return;
    event.preventDefault();
    event.stopPropagation();
    setAsTable(!asTable);
  };
  return (
    <section
      className={`tl-panel tl-panel-${id}`}
      aria-label={title}
      data-tl-panel={id}
      data-tl-status={store.status}
      tabIndex={-1}
      onKeyDown={onKeyDown}
    >
      <header className="tl-panel-header">
        <StatusMark status={store.status} />
        <span className="tl-panel-cluster">{store.cluster?.name ?? ''}</span>
        <span className="tl-panel-note">{props.note}</span>
        <span className="tl-panel-controls">
          {asTable ? null : props.controls}
          <button
            type="button"
            className="tl-link tl-table-toggle"
            aria-pressed={asTable}
            title={words.__('Show the same as a table (t)')}
            onClick={() => setAsTable(!asTable)}
          >
            {words.__('table')}
          </button>
        </span>
      </header>
      <LinkNotice store={store} words={words} />
      <div className="tl-panel-body">
        {asTable ? <div className="tl-table-scroll">{props.table()}</div> : props.drawing}
      </div>
      <p className="tl-sr-only" aria-live="polite">
        {summary}
      </p>
    </section>
  );
}

/** Shape and colour of a feed's state; the words stand beside it. */
function StatusMark({ status }: { status: FeedStore['status'] }): ReactElement {
  const shape = status === 'live' ? 'running' : status === 'connecting' ? 'starting' : 'ended';
  return <span className={`tl-dot tl-dot-${shape}`} aria-hidden="true" />;
}

/** Says in a line why nothing moves, when nothing moves. */
function LinkNotice({ store, words }: { store: FeedStore; words: Words }): ReactElement | null {
  const text = noticeOf(store, words);
  if (text === null) return null;
  return (
    <p className={`tl-notice tl-notice-${store.status}`} role="status">
      {text}
    </p>
  );
}

function noticeOf(store: FeedStore, words: Words): string | null {
  const time = new Date(store.now).toLocaleTimeString();
  switch (store.status) {
    case 'live':
      return null;
    case 'connecting':
      return words.__('Connecting to the scheduler…');
    case 'lost':
      return store.reason ?? words.__('Connection lost, trying again…');
    case 'ended':
      return store.now === 0
        ? words.__('Ended: %1', store.reason ?? words.__('the cluster is gone'))
        : words.__(
            'Ended %1: %2. This is the last state.',
            time,
            (store.reason ?? words.__('the cluster is gone')).replace(/\.$/, '')
          );
    case 'refused':
      return store.reason;
    default:
      return null;
  }
}

/** What a panel shows when there is no cluster. */
export function NoCluster({ words, title }: { words: Words; title: string }): ReactElement {
  return (
    <section className="tl-panel tl-panel-empty" aria-label={title}>
      <p>{words.__('No cluster yet.')}</p>
      <p className="tl-muted">
        {words.__('Make one in the Taskloom sidebar, or in a notebook with Client.connect().')}
      </p>
    </section>
  );
}
