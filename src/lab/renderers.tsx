/**
 * Renderers of our two MIME types. They need nothing of the lab's shell, so they work in
 * Notebook 7 and in any other front end made of the same parts. A bundle of a later version is
 * left to its text form.
 */
import { ReactWidget } from '@jupyterlab/apputils';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { PanelLayout, Widget } from '@lumino/widgets';
import type { ReactElement } from 'react';

import { pagePalette } from '../panels/view/panel.ts';
import { panelById } from '../panels/view/registry.tsx';
import type { Words } from '../panels/view/words.ts';
import { PANEL_MIME, PROGRESS_MIME } from '../protocol/progress.ts';
import type { PanelBundle, ProgressBundle } from '../protocol/progress.ts';
import { PanelContent } from './panel-widget.tsx';
import type { PanelServices } from './panel-widget.tsx';
import { isProgressBundle, ProgressOutput } from './progress-output.tsx';
import type { ITaskloomClusters } from './tokens.ts';

/** Progress under a cell; updates of one display draw into the same widget. */
class RenderedProgress extends ReactWidget implements IRenderMime.IRenderer {
  readonly #clusters: ITaskloomClusters;
  readonly #words: Words;
  #bundle: ProgressBundle | null = null;

  constructor(services: PanelServices) {
    super();
    this.#clusters = services.clusters;
    this.#words = services.words;
    this.addClass('tl-root');
    this.addClass('tl-rendered-progress');
    this.#clusters.changed.connect(this.#clustersChanged, this);
  }

  override dispose(): void {
    this.#clusters.changed.disconnect(this.#clustersChanged, this);
    super.dispose();
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const data = model.data[PROGRESS_MIME] as unknown;
    this.#bundle = isProgressBundle(data) ? data : null;
    this.update();
    await this.renderPromise;
  }

  protected override render(): ReactElement | null {
    const bundle = this.#bundle;
    if (bundle === null) {
      return (
        <p className="tl-notice">
          {this.#words.__('This progress was made by another version of taskloom; update it.')}
        </p>
      );
    }
    return (
      <ProgressOutput
        bundle={bundle}
        palette={pagePalette}
        words={this.#words}
        stale={this.#stale(bundle)}
      />
    );
  }

  #stale(bundle: ProgressBundle): boolean {
    if (bundle.state !== 'running' || this.#clusters.status !== 'ready') return false;
    const info = this.#clusters.get(bundle.cluster.id);
    return info === null || info.state === 'ended' || info.state === 'failed';
  }

  #clustersChanged(): void {
    // Only an unfinished bar may have to say that its cluster is gone.
    if (this.#bundle?.state === 'running') this.update();
  }
}

/** A dashboard panel as a cell's output. */
class RenderedPanel extends Widget implements IRenderMime.IRenderer {
  readonly #services: PanelServices;
  #shown = '';

  constructor(services: PanelServices) {
    super();
    this.#services = services;
    this.layout = new PanelLayout();
    this.addClass('tl-root');
    this.addClass('tl-rendered-panel');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const bundle = model.data[PANEL_MIME] as unknown as Partial<PanelBundle>;
    const key = JSON.stringify(bundle);
    if (key === this.#shown) return Promise.resolve();
    this.#shown = key;
    const layout = this.layout as PanelLayout;
    for (const old of [...layout.widgets]) old.dispose();
    const panel = bundle.version === 1 ? panelById(bundle.panel ?? '') : undefined;
    layout.addWidget(
      panel === undefined
        ? this.#unknown(bundle.panel)
        : new PanelContent(panel, this.#services, bundle.cluster ?? null)
    );
    return Promise.resolve();
  }

  #unknown(id: string | undefined): Widget {
    const widget = new Widget();
    widget.addClass('tl-notice');
    widget.node.textContent = this.#services.words.__(
      'This version of taskloom has no panel “%1”; update it.',
      id ?? '?'
    );
    return widget;
  }
}

/** The factories, ready to be added to a rendermime registry. */
export function rendererFactories(services: PanelServices): IRenderMime.IRendererFactory[] {
  return [
    {
      safe: true,
      mimeTypes: [PROGRESS_MIME],
      defaultRank: -10,
      createRenderer: () => new RenderedProgress(services)
    },
    {
      safe: true,
      mimeTypes: [PANEL_MIME],
      defaultRank: -10,
      createRenderer: () => new RenderedPanel(services)
    }
  ];
}
