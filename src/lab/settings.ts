/** The user's settings of the extension, read from the settings registry, with their defaults. */
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';
import type { ISignal } from '@lumino/signaling';

import { DEFAULT_LAYOUT } from './dock.ts';
import type { DockMode, LayoutEntry } from './dock.ts';

/** Id of the plugin whose settings these are; the schema's file is named after it. */
export const SETTINGS_ID = 'taskloom:plugin';

export class Settings {
  newCluster: ReadonlyPartialJSONObject = {};
  layout: readonly LayoutEntry[] = DEFAULT_LAYOUT;
  dockMode: DockMode = 'split-right';
  /** Updates of the panels a second. */
  rate = 10;
  statusBar = true;
  readonly #changed = new Signal<this, void>(this);

  get changed(): ISignal<this, void> {
    return this.#changed;
  }

  /** Reads the settings now and whenever they change; keeps the defaults when that fails. */
  async load(registry: ISettingRegistry | null): Promise<void> {
    if (registry === null) return;
    try {
      const settings = await registry.load(SETTINGS_ID);
      settings.changed.connect(() => this.#take(settings.composite));
      this.#take(settings.composite);
    } catch (error) {
      console.warn('taskloom: settings cannot be read, defaults are used.', error);
    }
  }

  #take(values: ReadonlyPartialJSONObject): void {
    this.newCluster = (values['newCluster'] ?? {}) as ReadonlyPartialJSONObject;
    const layout = values['defaultLayout'];
    this.layout = Array.isArray(layout) ? (layout as unknown as LayoutEntry[]) : DEFAULT_LAYOUT;
    this.dockMode = (values['dockMode'] ?? 'split-right') as DockMode;
    this.rate = Number(values['rate'] ?? 10);
    this.statusBar = values['statusBar'] !== false;
    this.#changed.emit();
  }
}
