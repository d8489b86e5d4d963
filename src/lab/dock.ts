/**
 * Where panels go in the main area: the first one splits the area right of what the user works
 * on, further ones become tabs beside it. There is one widget of each panel; opening it again
 * brings it forward.
 */
import type { ILabShell } from '@jupyterlab/application';
import { WidgetTracker } from '@jupyterlab/apputils';
import type { MainAreaWidget } from '@jupyterlab/apputils';
import type { DockLayout } from '@lumino/widgets';

import { panelById } from '../panels/view/registry.tsx';
import { panelWidget, widgetIdOf } from './panel-widget.tsx';
import type { PanelContent, PanelServices } from './panel-widget.tsx';

export type DockMode = 'split-right' | 'split-bottom' | 'split-left' | 'tab-after';

/** One line of a layout: a panel and where it stands relative to another. */
export interface LayoutEntry {
  panel: string;
  mode: DockMode;
  /** Panel id that it stands beside; absent = what the user works on. */
  ref?: string;
}

/** Task stream and progress at the right, workers below them. */
export const DEFAULT_LAYOUT: readonly LayoutEntry[] = [
  { panel: 'task-stream', mode: 'split-right' },
  { panel: 'progress', mode: 'tab-after', ref: 'task-stream' },
  { panel: 'workers', mode: 'split-bottom', ref: 'task-stream' }
];

type PanelWidget = MainAreaWidget<PanelContent>;

export class PanelDock {
  readonly tracker = new WidgetTracker<PanelWidget>({ namespace: 'taskloom-panels' });
  /** Where the first panel goes. */
  firstMode: DockMode = 'split-right';
  readonly #shell: ILabShell;
  readonly #services: PanelServices;

  constructor(shell: ILabShell, services: PanelServices) {
    this.#shell = shell;
    this.#services = services;
  }

  /** The widget of a panel, made when there is none; the caller puts it somewhere. */
  widgetOf(panelId: string): PanelWidget | null {
    const panel = panelById(panelId);
    if (panel === undefined) return null;
    const known = this.tracker.find(widget => widget.id === widgetIdOf(panel));
    if (known !== undefined) return known;
    const made = panelWidget(panel, this.#services);
    void this.tracker.add(made);
    return made;
  }

  /** Opens a panel or brings it forward. */
  open(panelId: string, where: { mode?: DockMode; ref?: string } = {}): PanelWidget | null {
    const widget = this.widgetOf(panelId);
    if (widget === null) return null;
    if (!widget.isAttached) this.#shell.add(widget, 'main', this.#place(widget, where));
    this.#shell.activateById(widget.id);
    return widget;
  }

  /** Opens a layout; panels that are open already stay where they are. */
  openLayout(layout: readonly LayoutEntry[]): void {
    const before = this.#shell.currentWidget;
    for (const entry of layout) {
      const beside = entry.ref === undefined ? undefined : this.#attached(entry.ref);
      this.open(entry.panel, {
        mode: entry.mode,
        ...(beside === undefined ? {} : { ref: beside })
      });
    }
    const first = layout[0] === undefined ? undefined : this.#attached(layout[0].panel);
    if (first !== undefined) this.#shell.activateById(first);
    // The user goes on where they were: a layout is something to look at.
    if (before !== null && this.tracker.find(widget => widget === before) === undefined) {
      this.#shell.activateById(before.id);
    }
  }

  #place(
    widget: PanelWidget,
    where: { mode?: DockMode; ref?: string }
  ): { mode: DockLayout.InsertMode; ref?: string; activate: boolean } {
    const other = this.tracker.find(each => each !== widget && each.isAttached);
    if (where.ref !== undefined) {
      return { mode: where.mode ?? 'tab-after', ref: where.ref, activate: false };
    }
    if (where.mode === undefined && other !== undefined) {
      return { mode: 'tab-after', ref: other.id, activate: false };
    }
    const ref = this.#shell.currentWidget?.id;
    const mode = where.mode ?? this.firstMode;
    return ref === undefined ? { mode, activate: false } : { mode, ref, activate: false };
  }

  #attached(panelId: string): string | undefined {
    const panel = panelById(panelId);
    if (panel === undefined) return undefined;
    return this.tracker.find(widget => widget.id === widgetIdOf(panel) && widget.isAttached)?.id;
  }
}
