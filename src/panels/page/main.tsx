/** The page at the scheduler's own address: all panels of one cluster, without a lab. */
import { useEffect, useState } from 'react';
import type { ReactElement } from 'react';
import { createRoot } from 'react-dom/client';

import { formatAge, formatCount } from '../model/format.ts';
import { FeedStore } from '../model/store.ts';
import { pagePalette } from '../view/panel.ts';
import { panelById, PanelView } from '../view/registry.tsx';
import { plainWords } from '../view/words.ts';
import { PageFeed } from './feed.ts';

const SLOTS = [
  { panel: 'task-stream', className: 'tl-page-stream' },
  { panel: 'progress', className: 'tl-page-progress' },
  { panel: 'workers', className: 'tl-page-workers' }
] as const;

function Page({ store }: { store: FeedStore }): ReactElement {
  const clusterId = useCluster(store);
  return (
    <main className="tl-root tl-page" key={clusterId ?? ''}>
      <Head store={store} />
      {SLOTS.map(({ panel: id, className }) => {
        const panel = panelById(id);
        if (panel === undefined) return null;
        return (
          <div className={`tl-page-slot ${className}`} key={id}>
            <h2>{panel.title}</h2>
            <PanelView panel={panel} store={store} palette={pagePalette} words={plainWords} />
          </div>
        );
      })}
    </main>
  );
}

/** Draws anew when another cluster answers at this address. */
function useCluster(store: FeedStore): string | null {
  const [id, setId] = useState(store.cluster?.id ?? null);
  useEffect(() => store.subscribe(() => setId(store.cluster?.id ?? null)), [store]);
  return id;
}

function Head({ store }: { store: FeedStore }): ReactElement {
  const [, again] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) again(count => count + 1);
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  const { cluster } = store;
  const totals = store.workers.totals();
  const tasks = store.progress.totals();
  const facts =
    cluster === null
      ? []
      : [
          cluster.kind,
          `${formatCount(totals.workers)} workers`,
          `${formatCount(totals.threads)} threads`,
          `${Math.round(totals.busy)} % busy`,
          `${formatCount(tasks.done)} / ${formatCount(tasks.total)} tasks`,
          `${formatCount(store.clients)} clients`,
          `up ${formatAge(store.now - cluster.startedAt)}`
        ];
  document.title = cluster === null ? 'Taskloom' : `${cluster.name} · Taskloom`;
  return (
    <header className="tl-page-head">
      <h1>{cluster?.name ?? 'Taskloom'}</h1>
      <span className="tl-muted">{facts.join(' · ')}</span>
    </header>
  );
}

const root = document.getElementById('root');
if (root !== null) {
  const store = new FeedStore();
  new PageFeed(store);
  createRoot(root).render(<Page store={store} />);
}
