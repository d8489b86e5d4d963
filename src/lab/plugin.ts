/**
 * The extension's plugins. Clusters, feeds, renderers and the commands on clusters need no shell and
 * run in Notebook 7 too; sidebar and dock need JupyterLab's and stay away where there is none. This
 * file is what the browser loads first: nothing it imports may need Node.
 */
import { ILabShell, ILayoutRestorer } from '@jupyterlab/application';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import type { Words } from '../panels/view/words.ts';
import { ClusterActions } from './actions.ts';
import { addCommands, COMMANDS } from './commands.ts';
import { PanelDock } from './dock.ts';
import { FeedHub } from './feeds.ts';
import { LauncherClient } from './launcher.ts';
import { logsWidget } from './logs.tsx';
import { rendererFactories } from './renderers.tsx';
import { Settings, SETTINGS_ID } from './settings.ts';
import { Sidebar } from './sidebar/sidebar.tsx';
import { StatusItem } from './status.tsx';
import { ITaskloomClusters, ITaskloomFeeds } from './tokens.ts';

const wordsOf = (translator: ITranslator | null): Words =>
  (translator ?? nullTranslator).load('taskloom') as Words;

const clustersPlugin: JupyterFrontEndPlugin<ITaskloomClusters> = {
  id: 'taskloom:clusters',
  description: 'The Taskloom clusters of this user, live from the launcher.',
  autoStart: true,
  provides: ITaskloomClusters,
  activate: (app: JupyterFrontEnd) =>
    new LauncherClient({ serverSettings: app.serviceManager.serverSettings })
};

const feedsPlugin: JupyterFrontEndPlugin<ITaskloomFeeds> = {
  id: 'taskloom:feeds',
  description: 'Dashboard feeds of Taskloom clusters, one socket a cluster.',
  autoStart: true,
  provides: ITaskloomFeeds,
  requires: [ITaskloomClusters],
  activate: (app: JupyterFrontEnd, clusters: ITaskloomClusters) =>
    new FeedHub({ serverSettings: app.serviceManager.serverSettings, clusters })
};

const renderersPlugin: JupyterFrontEndPlugin<void> = {
  id: 'taskloom:renderers',
  description: 'Draws Taskloom progress and panels in the outputs of cells.',
  autoStart: true,
  requires: [IRenderMimeRegistry, ITaskloomClusters, ITaskloomFeeds],
  optional: [ITranslator],
  activate: (
    _app: JupyterFrontEnd,
    registry: IRenderMimeRegistry,
    clusters: ITaskloomClusters,
    feeds: ITaskloomFeeds,
    translator: ITranslator | null
  ) => {
    for (const factory of rendererFactories({ clusters, feeds, words: wordsOf(translator) })) {
      registry.addFactory(factory);
    }
  }
};

const labPlugin: JupyterFrontEndPlugin<void> = {
  id: SETTINGS_ID,
  description: 'Taskloom sidebar, panels in the dock, commands and status bar.',
  autoStart: true,
  requires: [ITaskloomClusters, ITaskloomFeeds],
  optional: [
    ILabShell,
    ILayoutRestorer,
    INotebookTracker,
    ICommandPalette,
    ISettingRegistry,
    IStateDB,
    IStatusBar,
    ITranslator
  ],
  activate: activateLab
};

function activateLab(
  app: JupyterFrontEnd,
  clusters: ITaskloomClusters,
  feeds: ITaskloomFeeds,
  shell: ILabShell | null,
  restorer: ILayoutRestorer | null,
  notebooks: INotebookTracker | null,
  palette: ICommandPalette | null,
  registry: ISettingRegistry | null,
  state: IStateDB | null,
  statusBar: IStatusBar | null,
  translator: ITranslator | null
): void {
  const words = wordsOf(translator);
  const settings = new Settings();
  const dock = shell === null ? null : new PanelDock(shell, { clusters, feeds, words });
  const actions = new ClusterActions({
    clusters,
    words,
    state,
    notebooks,
    defaults: () => settings.newCluster,
    showLogs: cluster => {
      if (shell === null) return;
      const widget = logsWidget({ cluster, clusters, words });
      shell.add(widget, 'main', { mode: 'split-bottom' });
      shell.activateById(widget.id);
    }
  });
  const layout = (): Settings['layout'] => settings.layout;
  addCommands({ app, shell, clusters, actions, dock, words, palette, layout });
  settings.changed.connect(() => {
    if (dock !== null) dock.firstMode = settings.dockMode;
    if (feeds instanceof FeedHub) feeds.setRate(settings.rate);
  });
  void settings.load(registry);
  // The list is wanted as soon as the lab stands: the status bar tells of the active cluster.
  void app.restored.then(() => clusters.start());
  if (shell === null || dock === null) return;
  const sidebar = new Sidebar({ clusters, actions, dock, notebooks, words, layout });
  shell.add(sidebar, 'left', { rank: 600, type: 'Taskloom' });
  if (restorer !== null) {
    restorer.add(sidebar, sidebar.id);
    void restorer.restore(dock.tracker, {
      command: COMMANDS.openPanel,
      args: widget => ({ panel: widget.content.panel.id }),
      name: widget => widget.content.panel.id
    });
  }
  if (statusBar !== null) {
    const item = new StatusItem(clusters, words, () => shell.activateById(sidebar.id));
    statusBar.registerStatusItem('taskloom:status', {
      item,
      align: 'left',
      rank: 30,
      isActive: () => settings.statusBar && clusters.active !== null,
      activeStateChanged: clusters.changed
    });
    settings.changed.connect(() => item.setHidden(!settings.statusBar));
  }
}

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  clustersPlugin,
  feedsPlugin,
  renderersPlugin,
  labPlugin
];

export default plugins;
