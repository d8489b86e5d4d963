/** Sidebar, forms and cell outputs of the lab in a real browser, over clusters held in memory. */
import { MimeModel } from '@jupyterlab/rendermime';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { userEvent } from 'vitest/browser';

import '../../style/base.css';
import type { ClusterActions } from '../../src/lab/actions.ts';
import { connectCode, toLanguage } from '../../src/lab/connect.ts';
import type { PanelDock } from '../../src/lab/dock.ts';
import { connectCell, panelCell } from '../../src/lab/drag.ts';
import { NewClusterForm } from '../../src/lab/forms.tsx';
import { rendererFactories } from '../../src/lab/renderers.tsx';
import { findPanels } from '../../src/lab/sidebar/panel-list.tsx';
import { Sidebar } from '../../src/lab/sidebar/sidebar.tsx';
import { statusText } from '../../src/lab/status.tsx';
import type {
  FeedLease,
  ITaskloomClusters,
  ITaskloomFeeds,
  LauncherStatus
} from '../../src/lab/tokens.ts';
import { FeedStore } from '../../src/panels/model/store.ts';
import { PANELS } from '../../src/panels/view/registry.tsx';
import { plainWords as words } from '../../src/panels/view/words.ts';
import type { ClusterInfo } from '../../src/protocol/launcher.ts';
import { PANEL_MIME, PROGRESS_MIME } from '../../src/protocol/progress.ts';
import type { ProgressBundle } from '../../src/protocol/progress.ts';
import { snapshot } from '../panels/feed-events.ts';

const GIB = 1024 ** 3;

function clusterOf(id: string, parts: Partial<ClusterInfo> = {}): ClusterInfo {
  return {
    id,
    name: `name-${id}`,
    kind: 'local',
    state: 'running',
    reason: null,
    workers: { running: 2, starting: 1, pending: 3 },
    threads: 4,
    memory: { used: 2 * GIB, limit: 8 * GIB },
    tasks: { processing: 3, queued: 116, memory: 353, erred: 9 },
    startedAt: Date.now() - 180_000,
    madeBy: { kind: 'notebook', label: 'flights.ipynb' },
    address: 'http://127.0.0.1:1',
    can: { scale: true, stop: true, restart: true },
    ...parts
  };
}

/** A list of clusters without a server. */
class HeldClusters {
  status: LauncherStatus = 'ready';
  problem: string | null = null;
  clusters: ClusterInfo[] = [];
  active: ClusterInfo | null = null;
  readonly changed = new Signal<this, void>(this);
  start(): void {}
  get(id: string): ClusterInfo | null {
    return this.clusters.find(cluster => cluster.id === id) ?? null;
  }
  set(clusters: ClusterInfo[], active: string | null): void {
    this.clusters = clusters;
    this.active = active === null ? null : this.get(active);
    this.changed.emit();
  }
}

let held: HeldClusters;
let clusters: ITaskloomClusters;
let asked: string[];
const attached: Widget[] = [];

const actions = new Proxy({} as ClusterActions, {
  get: (_, name) => (cluster?: ClusterInfo) => {
    asked.push(cluster === undefined ? String(name) : `${String(name)} ${cluster.id}`);
    return Promise.resolve();
  }
});
const dock = {
  open: (id: string) => asked.push(`open ${id}`),
  openLayout: () => asked.push('layout')
} as unknown as PanelDock;
const feeds: ITaskloomFeeds = {
  acquire: (clusterId): FeedLease => {
    const store = new FeedStore();
    store.apply(snapshot());
    return { clusterId, store, isDisposed: false, dispose: () => undefined };
  }
};

beforeEach(() => {
  held = new HeldClusters();
  clusters = held as unknown as ITaskloomClusters;
  asked = [];
});
afterEach(() => {
  for (const widget of attached.splice(0)) widget.dispose();
});

function attach<W extends Widget>(widget: W): W {
  widget.node.style.width = '260px';
  Widget.attach(widget, document.body);
  attached.push(widget);
  return widget;
}

const sidebar = (): Sidebar =>
  attach(new Sidebar({ clusters, actions, dock, notebooks: null, words, layout: () => [] }));

const one = async (root: Element, selector: string): Promise<HTMLElement> =>
  vi.waitFor(() => {
    const found = root.querySelector<HTMLElement>(selector);
    if (found === null) throw new Error(`no ${selector}`);
    return found;
  });

describe('the sidebar', () => {
  it('offers one button when there is no cluster', async () => {
    const { node } = sidebar();
    await userEvent.click(await one(node, '.tl-quick-cluster'));
    expect(asked).toEqual(['quickCluster']);
  });

  it('tells a cluster’s facts in words and marks the active one', async () => {
    held.set([clusterOf('c1', { reason: '3 jobs wait for the queue.' }), clusterOf('c2')], 'c1');
    const { node } = sidebar();
    const card = await one(node, '[data-tl-cluster="c1"]');
    expect(card.getAttribute('aria-current')).toBe('true');
    expect(card.textContent).toContain('2 of 6 workers · 1 starting · 3 pending · 4 threads');
    expect(card.textContent).toContain('made by flights.ipynb');
    expect(card.textContent).toContain('2 GiB of 8 GiB');
    expect(card.textContent).toContain('3 jobs wait for the queue.');
    expect(card.textContent).toContain('3 min');
    const other = await one(node, '[data-tl-cluster="c2"]');
    expect(other.getAttribute('aria-current')).toBeNull();
    other.focus();
    await userEvent.keyboard('{Enter}');
    expect(asked).toEqual(['activate c2']);
  });

  it('does what the buttons say, and only that', async () => {
    held.set([clusterOf('c1')], null);
    const { node } = sidebar();
    for (const kind of ['connect', 'scale', 'logs', 'restart', 'stop']) {
      await userEvent.click(await one(node, `.tl-action-${kind}`));
    }
    expect(asked).toEqual(['connect c1', 'scale c1', 'logs c1', 'restartWorkers c1', 'stop c1']);
  });

  it('keeps an ended cluster with its reason until it is forgotten', async () => {
    held.set([clusterOf('c1', { state: 'failed', reason: 'Killed: out of memory.' })], null);
    const { node } = sidebar();
    const card = await one(node, '.tl-card-failed');
    expect(card.textContent).toContain('failed');
    expect(card.textContent).toContain('Killed: out of memory.');
    await userEvent.click(await one(node, '.tl-action-forget'));
    expect(asked).toEqual(['forget c1']);
    expect(node.querySelector('.tl-action-stop')).toBeNull();
  });

  it('follows the list live, and says when there is no launcher', async () => {
    const { node } = sidebar();
    held.set([clusterOf('c7')], 'c7');
    await one(node, '[data-tl-cluster="c7"]');
    held.status = 'unavailable';
    held.problem = 'Install the taskloom Python package.';
    held.set([], null);
    expect((await one(node, '.tl-notice')).textContent).toContain('Install the taskloom');
    expect(node.querySelector('.tl-quick-cluster')).toBeNull();
  });

  it('opens panels by click and by keyboard alone', async () => {
    const { node } = sidebar();
    await userEvent.click(await one(node, '[data-tl-panel-item="progress"]'));
    (await one(node, '.tl-search')).focus();
    await userEvent.keyboard('work{Enter}');
    await vi.waitFor(() => expect(asked).toEqual(['open progress', 'open workers']));
    expect(node.querySelectorAll('.tl-panel-item')).toHaveLength(1);
    await userEvent.click(await one(node, '.tl-default-layout'));
    expect(asked.at(-1)).toBe('layout');
  });
});

describe('words and cells', () => {
  it('finds panels by any of their words', () => {
    expect(findPanels('cpu').map(panel => panel.id)).toEqual(['workers']);
    expect(findPanels('now thread').map(panel => panel.id)).toEqual(['task-stream']);
    expect(findPanels('nothing like it')).toEqual([]);
  });

  it('writes the connecting cell in the notebook’s language', () => {
    expect(connectCode('python', 'local-1')).toBe(
      'from taskloom import Client\nclient = Client("local-1")'
    );
    expect(connectCode('typescript', 'a"b')).toBe(
      'import { Client } from "taskloom";\nconst client = await Client.connect("a\\"b");'
    );
    expect(toLanguage('typescript')).toBe('typescript');
    expect(toLanguage('deno')).toBe('typescript');
    expect(toLanguage('python')).toBe('python');
    expect(connectCell('x', 'python').outputs).toEqual([]);
  });

  it('drops a panel as a cell that is drawn already and can draw itself again', () => {
    const panel = PANELS[0]!;
    const cell = panelCell(panel, 'typescript');
    expect(cell.outputs).toEqual([
      {
        output_type: 'display_data',
        metadata: {},
        data: {
          [PANEL_MIME]: { version: 1, panel: 'task-stream', cluster: null },
          'text/plain': 'Taskloom panel: Task stream'
        }
      }
    ]);
    expect(cell.source).toContain('"panel": "task-stream"');
    expect(panelCell(panel, 'python').source).toContain('"cluster": None');
  });

  it('tells the active cluster in a line', () => {
    expect(statusText(clusterOf('c1'), words)).toBe(
      'name-c1 · 2 workers · 75 % busy · 353 / 481 tasks · 9 failed'
    );
  });
});

describe('the form of a new cluster', () => {
  it('gives back what was typed, typed by the schema', async () => {
    const schema = {
      properties: {
        workers: { type: 'integer', title: 'Workers', default: 2 },
        memoryLimit: { type: 'string', title: 'Memory per worker' }
      }
    };
    const kinds = [{ kind: 'local', title: 'This machine', description: '', schema }];
    const form = attach(new NewClusterForm(kinds, { memoryLimit: '2 GiB' }, words));
    await userEvent.fill(await one(form.node, '[name="workers"]'), '5');
    expect(form.getValue()).toEqual({ kind: 'local', workers: 5, memoryLimit: '2 GiB' });
  });
});

describe('outputs of cells', () => {
  const bundle: ProgressBundle = {
    version: 1,
    id: 'p1',
    cluster: { id: 'c1', name: 'local-1' },
    rows: [{ name: 'byRoute', total: 240, done: 132, erred: 9, cancelled: 0, processing: 4 }],
    elapsed: 11.4,
    left: 6,
    state: 'running',
    note: null
  };
  const renderer = (
    mime: string
  ): ReturnType<ReturnType<typeof rendererFactories>[0]['createRenderer']> => {
    const factory = rendererFactories({ clusters, feeds, words }).find(each =>
      each.mimeTypes.includes(mime)
    );
    const made = factory?.createRenderer({} as never);
    if (made === undefined) throw new Error(mime);
    return attach(made as never);
  };
  const modelOf = (mime: string, data: unknown): MimeModel =>
    new MimeModel({ data: { [mime]: data as never }, trusted: false });

  it('draws progress, then its later states into the same bars', async () => {
    held.set([clusterOf('c1')], 'c1');
    const widget = renderer(PROGRESS_MIME);
    await widget.renderModel(modelOf(PROGRESS_MIME, bundle));
    const bar = await one(widget.node, '[role="progressbar"]');
    expect(bar.getAttribute('aria-valuenow')).toBe('132');
    expect(widget.node.textContent).toContain('132 / 240 · 9 failed');
    expect(widget.node.textContent).toContain('11.4 s · about 6.0 s left');
    const rows = [{ ...bundle.rows[0]!, done: 231, processing: 0 }];
    await widget.renderModel(
      modelOf(PROGRESS_MIME, { ...bundle, rows, state: 'erred', note: 'RangeError: bad HHMM' })
    );
    await vi.waitFor(() => expect(bar.getAttribute('aria-valuenow')).toBe('231'));
    expect(widget.node.textContent).toContain('failed after 11.4 s · RangeError: bad HHMM');
  });

  it('says that an unfinished bar of a file is interrupted when its cluster is gone', async () => {
    const widget = renderer(PROGRESS_MIME);
    await widget.renderModel(modelOf(PROGRESS_MIME, bundle));
    await vi.waitFor(() => expect(widget.node.textContent).toContain('interrupted'));
  });

  it('leaves a bundle of another version alone, in words', async () => {
    const widget = renderer(PROGRESS_MIME);
    await widget.renderModel(modelOf(PROGRESS_MIME, { version: 9 }));
    await vi.waitFor(() => expect(widget.node.textContent).toContain('another version'));
  });

  it('draws a panel in a cell, following the active cluster', async () => {
    held.set([clusterOf('c1')], 'c1');
    const widget = renderer(PANEL_MIME);
    const data = { version: 1, panel: 'workers', cluster: null };
    await widget.renderModel(modelOf(PANEL_MIME, data));
    const panel = await one(widget.node, '.tl-panel-workers');
    expect(panel.textContent).toContain('local-1');
    await widget.renderModel(modelOf(PANEL_MIME, { ...data, panel: 'of-tomorrow' }));
    expect(widget.node.textContent).toContain('no panel “of-tomorrow”');
  });
});
