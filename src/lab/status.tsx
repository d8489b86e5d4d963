/** The status-bar item: the active cluster in a line; a click shows the sidebar. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { ReactElement } from 'react';

import { formatCount, plural } from '../panels/model/format.ts';
import type { Words } from '../panels/view/words.ts';
import type { ClusterInfo } from '../protocol/launcher.ts';
import type { ITaskloomClusters } from './tokens.ts';

/** `local-7f3a · 4 workers · 68 % busy · 353 / 481 tasks` */
export function statusText(cluster: ClusterInfo, words: Words): string {
  const { running } = cluster.workers;
  const { processing, queued, memory, erred } = cluster.tasks;
  const parts = [cluster.name, plural(running, words.__('worker'), words.__('workers'))];
  if (cluster.threads > 0) {
    const busy = Math.min(100, Math.round((100 * processing) / cluster.threads));
    parts.push(words.__('%1 % busy', busy));
  }
  const total = processing + queued + memory + erred;
  if (total > 0) parts.push(words.__('%1 / %2 tasks', formatCount(memory), formatCount(total)));
  if (erred > 0) parts.push(words.__('%1 failed', formatCount(erred)));
  return parts.join(' · ');
}

export class StatusItem extends ReactWidget {
  readonly #clusters: ITaskloomClusters;
  readonly #words: Words;
  readonly #open: () => void;

  constructor(clusters: ITaskloomClusters, words: Words, open: () => void) {
    super();
    this.#clusters = clusters;
    this.#words = words;
    this.#open = open;
    this.addClass('tl-status');
    clusters.changed.connect(() => this.update());
  }

  protected override render(): ReactElement | null {
    const { active } = this.#clusters;
    if (active === null) return null;
    return (
      <button
        type="button"
        className="tl-status-button"
        title={this.#words.__('The active Taskloom cluster; click to show the sidebar')}
        onClick={this.#open}
      >
        {statusText(active, this.#words)}
      </button>
    );
  }
}
