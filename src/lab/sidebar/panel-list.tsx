/** The list of panels in the sidebar: search, groups, click or Enter opens, drag places. */
import { useState } from 'react';
import type { KeyboardEvent, ReactElement } from 'react';

import { PANELS } from '../../panels/view/registry.tsx';
import type { PanelType } from '../../panels/view/registry.tsx';
import type { Words } from '../../panels/view/words.ts';
import { useDrag } from './cluster-card.tsx';

interface ListProps {
  words: Words;
  open: (panel: PanelType) => void;
  openDefaultLayout: () => void;
  drag: (panel: PanelType, at: { clientX: number; clientY: number }) => void;
}

/** Panels whose title, description or group has all words of the query. */
export function findPanels(query: string, panels: readonly PanelType[] = PANELS): PanelType[] {
  const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
  return panels.filter(panel => {
    const text = `${panel.title} ${panel.description} ${panel.group}`.toLowerCase();
    return wanted.every(word => text.includes(word));
  });
}

/** The section. */
export function PanelList(props: ListProps): ReactElement {
  const { words } = props;
  const [query, setQuery] = useState('');
  const found = findPanels(query);
  const groups = [...new Set(found.map(panel => panel.group))];
  return (
    <section className="tl-section tl-panels" aria-label={words.__('Panels')}>
      <header className="tl-section-head">
        <h2>{words.__('Panels')}</h2>
        <button
          type="button"
          className="tl-link tl-default-layout"
          onClick={props.openDefaultLayout}
        >
          {words.__('Default layout')}
        </button>
      </header>
      <input
        className="tl-search"
        type="search"
        placeholder={words.__('Find a panel…')}
        aria-label={words.__('Find a panel')}
        value={query}
        onChange={event => setQuery(event.target.value)}
        onKeyDown={event => {
          if (event.key === 'Enter' && found[0] !== undefined) props.open(found[0]);
        }}
      />
      {groups.map(group => (
        <div key={group} role="group" aria-label={words.__(group)}>
          <h3>{words.__(group)}</h3>
          {found
            .filter(panel => panel.group === group)
            .map(panel => (
              <PanelItem key={panel.id} {...props} panel={panel} />
            ))}
        </div>
      ))}
      {found.length === 0 ? <p className="tl-muted tl-pad">{words.__('No such panel.')}</p> : null}
    </section>
  );
}

function PanelItem(props: ListProps & { panel: PanelType }): ReactElement {
  const { panel, words } = props;
  const press = useDrag(at => props.drag(panel, at));
  return (
    <div
      className="tl-panel-item"
      role="button"
      tabIndex={0}
      data-tl-panel-item={panel.id}
      aria-label={words.__('Open %1: %2', words.__(panel.title), words.__(panel.description))}
      title={words.__(
        'Click: open at the right. Drag: dock it anywhere, or drop it into a notebook.'
      )}
      onClick={() => props.open(panel)}
      onKeyDown={event => itemKey(event, () => props.open(panel))}
      {...press}
    >
      <span>{words.__(panel.title)}</span>
      <span className="tl-muted">{words.__(panel.description)}</span>
    </div>
  );
}

function itemKey(event: KeyboardEvent<HTMLElement>, open: () => void): void {
  const items = [
    ...(event.currentTarget
      .closest('.tl-panels')
      ?.querySelectorAll<HTMLElement>('.tl-panel-item') ?? [])
  ];
  const here = items.indexOf(event.currentTarget);
  switch (event.key) {
    case 'Enter':
    case ' ':
      open();
      break;
    case 'ArrowDown':
      items[here + 1]?.focus();
      break;
    case 'ArrowUp':
      items[here - 1]?.focus();
      break;
    default:
      return;
  }
  event.preventDefault();
}
