/** The extension's commands, for the palette, the menus, the card's context menu and scripts. */
import type { ILabShell, JupyterFrontEnd } from '@jupyterlab/application';
import type { ICommandPalette } from '@jupyterlab/apputils';
import type { CommandRegistry } from '@lumino/commands';

import { PANELS } from '../panels/view/registry.tsx';
import type { Words } from '../panels/view/words.ts';
import type { ClusterInfo } from '../protocol/launcher.ts';
import { isAlive } from './actions.ts';
import type { ClusterActions } from './actions.ts';
import type { LayoutEntry, PanelDock } from './dock.ts';
import { taskloomIcon } from './icon.ts';
import type { ITaskloomClusters } from './tokens.ts';

/** Ids of the commands. */
export const COMMANDS = {
  showSidebar: 'taskloom:show-sidebar',
  newCluster: 'taskloom:new-cluster',
  quickCluster: 'taskloom:quick-cluster',
  stopAll: 'taskloom:stop-all',
  connect: 'taskloom:connect-notebook',
  activate: 'taskloom:activate-cluster',
  scale: 'taskloom:scale-cluster',
  restart: 'taskloom:restart-workers',
  logs: 'taskloom:cluster-logs',
  stop: 'taskloom:stop-cluster',
  forget: 'taskloom:forget-cluster',
  openPanel: 'taskloom:open-panel',
  defaultLayout: 'taskloom:default-layout'
} as const;

export interface CommandOptions {
  app: JupyterFrontEnd;
  /** JupyterLab's shell; null in front ends that have no side bars and no dock. */
  shell: ILabShell | null;
  clusters: ITaskloomClusters;
  actions: ClusterActions;
  dock: PanelDock | null;
  words: Words;
  palette: ICommandPalette | null;
  layout: () => readonly LayoutEntry[];
}

/** Adds all commands, and those worth finding to the palette. */
export function addCommands(options: CommandOptions): void {
  const { app, words, palette, actions, dock, shell } = options;
  const { commands } = app;
  const add = (id: string, command: CommandRegistry.ICommandOptions): void => {
    commands.addCommand(id, command);
  };
  if (shell !== null && dock !== null) addShellCommands(options, shell, dock);
  add(COMMANDS.newCluster, {
    label: words.__('New Cluster…'),
    execute: () => actions.newCluster()
  });
  add(COMMANDS.quickCluster, {
    label: words.__('New Local Cluster'),
    caption: words.__('With the values used last, without a question'),
    execute: () => actions.quickCluster()
  });
  add(COMMANDS.stopAll, {
    label: words.__('Stop All Clusters…'),
    isEnabled: () => options.clusters.clusters.some(isAlive),
    execute: () => actions.stopAll()
  });
  addClusterCommands(options);
  if (palette !== null) fillPalette(palette, shell !== null);
}

/** What a front end without side bars and dock cannot do. */
function addShellCommands(options: CommandOptions, shell: ILabShell, dock: PanelDock): void {
  const { app, words } = options;
  app.commands.addCommand(COMMANDS.showSidebar, {
    label: words.__('Show Taskloom Sidebar'),
    icon: taskloomIcon,
    execute: () => shell.activateById('taskloom-sidebar')
  });
  app.commands.addCommand(COMMANDS.openPanel, {
    label: args => panelLabel(args['panel'], words),
    icon: taskloomIcon,
    execute: args => dock.open(String(args['panel']))
  });
  app.commands.addCommand(COMMANDS.defaultLayout, {
    label: words.__('Open Default Panel Layout'),
    execute: () => dock.openLayout(options.layout())
  });
}

function panelLabel(id: unknown, words: Words): string {
  const panel = PANELS.find(each => each.id === id);
  return words.__('Open Panel: %1', words.__(panel?.title ?? 'unknown'));
}

/** Commands on one cluster: the one named, else the one under the context menu, else the active. */
function addClusterCommands(options: CommandOptions): void {
  const { app, clusters, actions, words } = options;
  const target = (args: { cluster?: unknown }): ClusterInfo | null => {
    const named = typeof args.cluster === 'string' ? args.cluster : null;
    if (named !== null) return clusters.get(named);
    const hit = app.contextMenuHitTest(node => node.dataset['tlCluster'] !== undefined);
    const id = hit?.dataset['tlCluster'];
    return id === undefined ? clusters.active : clusters.get(id);
  };
  const add = (
    id: string,
    label: string,
    enabled: (cluster: ClusterInfo) => boolean,
    run: (cluster: ClusterInfo) => unknown
  ): void => {
    app.commands.addCommand(id, {
      label,
      isEnabled: args => {
        const cluster = target(args);
        return cluster !== null && enabled(cluster);
      },
      execute: async args => {
        const cluster = target(args);
        if (cluster !== null) await run(cluster);
      }
    });
  };
  add(COMMANDS.connect, words.__('Connect This Notebook'), isAlive, c => actions.connect(c));
  add(COMMANDS.activate, words.__('Make Active'), isAlive, c => actions.activate(c));
  const canScale = (c: ClusterInfo): boolean => isAlive(c) && c.can.scale;
  add(COMMANDS.scale, words.__('Scale Cluster…'), canScale, c => actions.scale(c));
  const canRestart = (c: ClusterInfo): boolean => isAlive(c) && c.can.restart;
  add(COMMANDS.restart, words.__('Restart Workers…'), canRestart, c => actions.restartWorkers(c));
  if (options.shell !== null) {
    add(
      COMMANDS.logs,
      words.__('Show Cluster Logs'),
      () => true,
      c => actions.logs(c)
    );
  }
  const canStop = (c: ClusterInfo): boolean => isAlive(c) && c.can.stop;
  add(COMMANDS.stop, words.__('Stop Cluster…'), canStop, c => actions.stop(c));
  add(
    COMMANDS.forget,
    words.__('Forget Cluster'),
    c => !isAlive(c),
    c => actions.forget(c)
  );
}

function fillPalette(palette: ICommandPalette, withShell: boolean): void {
  const category = 'Taskloom';
  const listed: string[] = [
    COMMANDS.newCluster,
    COMMANDS.quickCluster,
    COMMANDS.connect,
    COMMANDS.scale,
    COMMANDS.restart,
    COMMANDS.stop,
    COMMANDS.stopAll
  ];
  if (withShell) listed.push(COMMANDS.logs, COMMANDS.defaultLayout, COMMANDS.showSidebar);
  for (const command of listed) palette.addItem({ command, category });
  if (!withShell) return;
  for (const panel of PANELS) {
    palette.addItem({ command: COMMANDS.openPanel, category, args: { panel: panel.id } });
  }
}
