/** The left sidebar: the user's clusters above, the panels below. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Message } from '@lumino/messaging';
import type { ReactElement } from 'react';

import type { Words } from '../../panels/view/words.ts';
import type { ClusterInfo } from '../../protocol/launcher.ts';
import type { ClusterActions } from '../actions.ts';
import { isAlive } from '../actions.ts';
import type { LayoutEntry, PanelDock } from '../dock.ts';
import { connectCell, panelCell, startDrag } from '../drag.ts';
import { taskloomIcon } from '../icon.ts';
import type { ITaskloomClusters } from '../tokens.ts';
import { ClusterCard } from './cluster-card.tsx';
import { PanelList } from './panel-list.tsx';

/** Ages are shown to the minute or to the second below one. */
const AGE_REFRESH_MS = 5000;

export interface SidebarOptions {
  clusters: ITaskloomClusters;
  actions: ClusterActions;
  dock: PanelDock;
  notebooks: INotebookTracker | null;
  words: Words;
  layout: () => readonly LayoutEntry[];
}

export class Sidebar extends ReactWidget {
  readonly #options: SidebarOptions;
  #ages: ReturnType<typeof setInterval> | undefined;
  /** A new cluster: being asked for, on its way, or neither. */
  #making: 'asking' | 'starting' | null = null;

  constructor(options: SidebarOptions) {
    super();
    this.#options = options;
    this.id = 'taskloom-sidebar';
    this.addClass('tl-root');
    this.addClass('tl-sidebar');
    this.title.icon = taskloomIcon;
    this.title.caption = 'Taskloom';
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Taskloom');
    options.clusters.changed.connect(() => this.update());
  }

  override dispose(): void {
    clearInterval(this.#ages);
    super.dispose();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.#options.clusters.start();
    this.#ages = setInterval(() => {
      if (!document.hidden) this.update();
    }, AGE_REFRESH_MS);
    this.update();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    clearInterval(this.#ages);
  }

  protected override render(): ReactElement {
    const { words, dock, notebooks, layout } = this.#options;
    return (
      <>
        {this.#clusters()}
        <PanelList
          words={words}
          open={panel => dock.open(panel.id)}
          openDefaultLayout={() => dock.openLayout(layout())}
          drag={(panel, at) =>
            void startDrag(at, {
              tracker: notebooks,
              label: words.__(panel.title),
              cell: language => panelCell(panel, language),
              widget: () => {
                const widget = dock.widgetOf(panel.id);
                if (widget === null) throw new Error(`No panel ${panel.id}`);
                return widget;
              }
            })
          }
        />
      </>
    );
  }

  #clusters(): ReactElement {
    const { clusters, actions, words } = this.#options;
    const activeId = clusters.active?.id;
    const alive = clusters.clusters.filter(isAlive);
    const gone = clusters.clusters.filter(cluster => !isAlive(cluster));
    return (
      <section className="tl-section" aria-label={words.__('Clusters')}>
        <header className="tl-section-head">
          <h2>{words.__('Clusters')}</h2>
          <button
            type="button"
            className="tl-button tl-new-cluster"
            disabled={this.#making !== null}
            onClick={() => void this.#make('asking', begun => actions.newCluster(begun))}
          >
            {words.__('New')}
          </button>
        </header>
        <Notice clusters={clusters} words={words} />
        {alive.length === 0 && clusters.status === 'ready' ? this.#first() : null}
        <ul className="tl-cards">
          {[...alive, ...gone].map(cluster => (
            <ClusterCard
              key={cluster.id}
              cluster={cluster}
              active={cluster.id === activeId}
              now={Date.now()}
              actions={actions}
              words={words}
              drag={(dragged, at) => this.#drag(dragged, at)}
            />
          ))}
        </ul>
      </section>
    );
  }

  #first(): ReactElement {
    const { actions, words } = this.#options;
    return (
      <div className="tl-first">
        <p className="tl-muted">
          {this.#making === 'starting'
            ? words.__('Starting a local cluster…')
            : words.__('No cluster is running.')}
        </p>
        <button
          type="button"
          className="tl-button tl-quick-cluster"
          disabled={this.#making !== null}
          onClick={() => void this.#make('starting', () => actions.quickCluster())}
        >
          {words.__('Quick local cluster')}
        </button>
      </div>
    );
  }

  async #make(
    first: 'asking' | 'starting',
    work: (begun: () => void) => Promise<void>
  ): Promise<void> {
    const set = (making: 'asking' | 'starting' | null): void => {
      this.#making = making;
      this.update();
    };
    set(first);
    try {
      await work(() => set('starting'));
    } finally {
      set(null);
    }
  }

  #drag(cluster: ClusterInfo, at: { clientX: number; clientY: number }): void {
    void startDrag(at, {
      tracker: this.#options.notebooks,
      label: cluster.name,
      cell: language => connectCell(cluster.name, language)
    });
  }
}

function Notice({
  clusters,
  words
}: {
  clusters: ITaskloomClusters;
  words: Words;
}): ReactElement | null {
  if (clusters.status === 'connecting') {
    return (
      <p className="tl-muted tl-pad" role="status">
        {words.__('Looking for clusters…')}
      </p>
    );
  }
  if (clusters.problem === null) return null;
  return (
    <p className="tl-notice" role="status">
      {clusters.problem}
    </p>
  );
}
