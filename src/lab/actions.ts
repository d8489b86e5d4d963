/** What a user does to clusters, with the questions and the error messages that belong to it. */
import { Dialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { IStateDB } from '@jupyterlab/statedb';
import type { PartialJSONObject, ReadonlyPartialJSONObject } from '@lumino/coreutils';

import type { Words } from '../panels/view/words.ts';
import type { ClusterInfo, NewCluster } from '../protocol/launcher.ts';
import { connectCode, insertCode, languageOf } from './connect.ts';
import { NewClusterForm, ScaleForm } from './forms.tsx';
import type { ITaskloomClusters } from './tokens.ts';

const REMEMBERED = 'taskloom:new-cluster';

export interface ActionServices {
  clusters: ITaskloomClusters;
  words: Words;
  state: IStateDB | null;
  notebooks: INotebookTracker | null;
  /** Defaults of new clusters from the settings. */
  defaults: () => ReadonlyPartialJSONObject;
  showLogs: (cluster: ClusterInfo) => void;
}

export class ClusterActions {
  readonly #services: ActionServices;

  constructor(services: ActionServices) {
    this.#services = services;
  }

  /** Asks what cluster it shall be, then makes it (`begun` is called) the active one. */
  async newCluster(begun: () => void = () => undefined): Promise<void> {
    const { clusters, words } = this.#services;
    await this.#told(words.__('Cannot make a cluster'), async () => {
      const kinds = await clusters.kinds();
      const form = new NewClusterForm(kinds, await this.#remembered(), words);
      const result = await showDialog({
        title: words.__('New cluster'),
        body: form,
        buttons: [
          Dialog.cancelButton({ label: words.__('Cancel') }),
          Dialog.okButton({ label: words.__('Create') })
        ],
        focusNodeSelector: 'input, select'
      });
      if (!result.button.accept || result.value === null) return;
      begun();
      await this.#services.state?.save(REMEMBERED, result.value);
      await this.#create(result.value as unknown as NewCluster);
    });
  }

  /** A local cluster with the last or default values, without a question. */
  async quickCluster(): Promise<void> {
    const { words } = this.#services;
    await this.#told(words.__('Cannot make a cluster'), async () => {
      await this.#create({ ...(await this.#remembered()), kind: 'local' });
    });
  }

  async activate(cluster: ClusterInfo): Promise<void> {
    const { clusters, words } = this.#services;
    await this.#told(words.__('Cannot choose this cluster'), () => clusters.setActive(cluster.id));
  }

  /** Writes the connecting cell into the current notebook. */
  async connect(cluster: ClusterInfo): Promise<void> {
    const { notebooks, words } = this.#services;
    const panel = notebooks?.currentWidget ?? null;
    if (panel === null) {
      await showDialog({
        title: words.__('No notebook is open'),
        body: words.__('Open a notebook, or copy this: %1', connectCode('python', cluster.name)),
        buttons: [Dialog.okButton()]
      });
      return;
    }
    insertCode(panel, connectCode(languageOf(panel), cluster.name));
  }

  async scale(cluster: ClusterInfo): Promise<void> {
    const { clusters, words } = this.#services;
    const now = cluster.workers.running + cluster.workers.starting + cluster.workers.pending;
    const result = await showDialog({
      title: words.__('Scale %1', cluster.name),
      body: new ScaleForm(now, words),
      buttons: [
        Dialog.cancelButton({ label: words.__('Cancel') }),
        Dialog.okButton({ label: words.__('Scale') })
      ],
      focusNodeSelector: 'input'
    });
    const workers = result.value;
    if (!result.button.accept || workers === null || !Number.isInteger(workers)) return;
    await this.#told(words.__('Cannot scale %1', cluster.name), () =>
      clusters.scale(cluster.id, workers)
    );
  }

  async restartWorkers(cluster: ClusterInfo): Promise<void> {
    const { clusters, words } = this.#services;
    const sure = await this.#sure(
      words.__('Restart the workers of %1?', cluster.name),
      words.__('Results that they hold are lost; what can be computed again will be.'),
      words.__('Restart')
    );
    if (!sure) return;
    await this.#told(words.__('Cannot restart the workers'), () =>
      clusters.restartWorkers(cluster.id)
    );
  }

  async stop(cluster: ClusterInfo): Promise<void> {
    const { clusters, words } = this.#services;
    const busy = cluster.tasks.processing + cluster.tasks.queued;
    const text =
      busy > 0
        ? words.__('%1 tasks are running or waiting; they and all results are lost.', busy)
        : words.__('Its %1 results in memory are lost.', cluster.tasks.memory);
    const sure = await this.#sure(words.__('Stop %1?', cluster.name), text, words.__('Stop'));
    if (!sure) return;
    await this.#told(words.__('Cannot stop %1', cluster.name), () => clusters.stop(cluster.id));
  }

  async stopAll(): Promise<void> {
    const { clusters, words } = this.#services;
    const all = clusters.clusters.filter(isAlive).filter(cluster => cluster.can.stop);
    if (all.length === 0) return;
    const names = all.map(cluster => cluster.name).join(', ');
    const sure = await this.#sure(
      words.__('Stop all %1 clusters?', all.length),
      names,
      words.__('Stop all')
    );
    if (!sure) return;
    await this.#told(words.__('Cannot stop all clusters'), async () => {
      await Promise.all(all.map(cluster => clusters.stop(cluster.id)));
    });
  }

  async forget(cluster: ClusterInfo): Promise<void> {
    const { clusters, words } = this.#services;
    await this.#told(words.__('Cannot forget %1', cluster.name), () => clusters.forget(cluster.id));
  }

  logs(cluster: ClusterInfo): void {
    this.#services.showLogs(cluster);
  }

  async #create(wanted: NewCluster): Promise<void> {
    const { clusters } = this.#services;
    const made = await clusters.create(wanted);
    await clusters.setActive(made.id);
  }

  /** Last values of the form over the settings' defaults. */
  async #remembered(): Promise<ReadonlyPartialJSONObject> {
    const last = await this.#services.state?.fetch(REMEMBERED);
    const known = typeof last === 'object' && last !== null && !Array.isArray(last) ? last : {};
    const values: PartialJSONObject = { ...(known as PartialJSONObject) };
    // A name belongs to one cluster; the next one gets its own.
    delete values['name'];
    return { ...this.#services.defaults(), ...values };
  }

  async #sure(title: string, body: string, verb: string): Promise<boolean> {
    const { words } = this.#services;
    const buttons = [
      Dialog.cancelButton({ label: words.__('Cancel') }),
      Dialog.warnButton({ label: verb })
    ];
    const result = await showDialog({ title, body, buttons });
    return result.button.accept;
  }

  async #told(title: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      await showErrorMessage(title, error instanceof Error ? error.message : String(error));
    }
  }
}

/** Whether a cluster can still do something. */
export function isAlive(cluster: ClusterInfo): boolean {
  return cluster.state !== 'ended' && cluster.state !== 'failed';
}
