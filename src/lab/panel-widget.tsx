/** A panel as a widget of the lab: in the dock, or inside a cell's output. */
import { MainAreaWidget, ReactWidget } from '@jupyterlab/apputils';
import type { ReactElement } from 'react';

import { pagePalette } from '../panels/view/panel.ts';
import { PanelView } from '../panels/view/registry.tsx';
import type { PanelType } from '../panels/view/registry.tsx';
import type { Words } from '../panels/view/words.ts';
import { FollowedFeed } from './followed.ts';
import { taskloomIcon } from './icon.ts';
import type { ITaskloomClusters, ITaskloomFeeds } from './tokens.ts';

/** What every panel widget is made from. */
export interface PanelServices {
  clusters: ITaskloomClusters;
  feeds: ITaskloomFeeds;
  words: Words;
}

/** The panel itself. */
export class PanelContent extends ReactWidget {
  readonly panel: PanelType;
  readonly #feed: FollowedFeed;
  readonly #words: Words;

  constructor(panel: PanelType, services: PanelServices, cluster: string | null) {
    super();
    this.addClass('tl-root');
    this.addClass('tl-panel-host');
    this.panel = panel;
    this.#words = services.words;
    this.#feed = new FollowedFeed(services.clusters, services.feeds, cluster);
    this.#feed.changed.connect(() => this.update());
  }

  override dispose(): void {
    this.#feed.dispose();
    super.dispose();
  }

  protected override render(): ReactElement {
    const { store } = this.#feed;
    return <PanelView panel={this.panel} store={store} palette={pagePalette} words={this.#words} />;
  }
}

/** Id of the widget that shows a panel in the dock: there is one of each. */
export function widgetIdOf(panel: PanelType): string {
  return `taskloom-panel-${panel.id}`;
}

/** A panel for the dock. */
export function panelWidget(
  panel: PanelType,
  services: PanelServices
): MainAreaWidget<PanelContent> {
  const content = new PanelContent(panel, services, null);
  const widget = new MainAreaWidget({ content });
  widget.id = widgetIdOf(panel);
  widget.addClass('tl-panel-widget');
  widget.toolbar.hide();
  widget.title.label = services.words.__(panel.title);
  widget.title.caption = `Taskloom: ${services.words.__(panel.description)}`;
  // The shell does these two for what it adds itself, but a drop into the dock goes past it.
  widget.title.icon = taskloomIcon.bindprops({ stylesheet: 'mainAreaTab' });
  widget.title.dataset = { id: widget.id };
  widget.title.closable = true;
  return widget;
}
