/**
 * The whole path in a real JupyterLab, by mouse and keyboard: cluster, notebook, progress, panels
 * beside and inside the notebook, scaling, a killed worker, reload, stop. One walk in steps; each
 * stands on those before it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { lives, until } from '../deploy/processes.ts';
import {
  allCellsRun,
  chooseMenu,
  colouredPixels,
  dockTab,
  drag,
  kernelIdle,
  labStands,
  notebook,
  openBrowser,
  openFile,
  openLab,
  openPage,
  pointIn,
  screenshot,
  showSide,
  watchFailures
} from './browser.ts';
import type { Browser, Locator, Page } from './browser.ts';
import { kill, Lab } from './lab.ts';

let lab: Lab;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  [lab, browser] = await Promise.all([Lab.start({ name: 'walk' }), openBrowser()]);
  page = await openPage(browser);
  await openLab(page, lab.url);
});
afterAll(async () => {
  await browser?.close();
  await lab?.dispose();
});
watchFailures('walk', () => page);

/** Panels by id, with their titles. */
const PANELS = { 'task-stream': 'Task stream', progress: 'Progress', workers: 'Workers' };

/** The one card in the sidebar. */
const card = (): Locator => page.locator('#taskloom-sidebar .tl-card');
/** Waits until the card says so. */
const cardSays = async (text: string | RegExp): Promise<void> =>
  page.locator('#taskloom-sidebar .tl-card', { hasText: text }).waitFor();

/** Scales by the dialog of the card. */
async function scale(workers: number): Promise<void> {
  await showSide(page, 'taskloom-sidebar');
  await card().locator('.tl-action-scale').click();
  await page.locator('.jp-Dialog input[name="workers"]').fill(String(workers));
  await page.keyboard.press('Enter');
  await page.locator('.jp-Dialog').waitFor({ state: 'detached' });
  await cardSays(`${workers} worker${workers === 1 ? '' : 's'} · `);
}

/** Process ids of the cluster's workers. */
const workers = (): number[] =>
  lab
    .family()
    .filter(({ command }) => command.includes('worker --supervised'))
    .map(({ pid }) => pid);

describe('a cluster and a notebook', () => {
  it('makes a cluster of two workers by the form', async () => {
    await showSide(page, 'taskloom-sidebar');
    await page.locator('.tl-new-cluster').click();
    await page.locator('.jp-Dialog input[name="workers"]').fill('2');
    await page.locator('.jp-Dialog input[name="threadsPerWorker"]').fill('1');
    await screenshot(page, 'new-cluster');
    await page.locator('.jp-Dialog .jp-mod-accept').click();
    await cardSays('2 workers · 2 threads');
    expect(await card().getAttribute('aria-current')).toBe('true');
    expect(workers()).toHaveLength(2);
    await page.locator('.tl-status-button', { hasText: '2 workers' }).waitFor();
  });

  it('runs the example on it, with bars that move and end full', async () => {
    await openFile(page, 'flights.ipynb');
    await kernelIdle(page);
    await watchBars();
    await chooseMenu(page, 'Run', 'Run All Cells');
    const running = page.locator('.tl-progress-output[data-tl-state="running"]').first();
    await running.scrollIntoViewIfNeeded();
    await screenshot(page, 'running');
    await allCellsRun(page, 120_000);
    const bars = page.locator('.tl-progress-output .tl-bar');
    // Two that the notebook asks for; on a slow machine other cells get one by themselves.
    expect(await bars.count()).toBeGreaterThanOrEqual(2);
    for (const bar of await bars.all()) {
      expect(await bar.getAttribute('aria-valuenow')).toBe(await bar.getAttribute('aria-valuemax'));
    }
    const seen = await barValues();
    expect(Math.max(...seen.map(values => values.length))).toBeGreaterThan(2);
    for (const values of seen) expect(values).toEqual(values.toSorted((a, b) => a - b));
    const outputs = (
      await notebook(page).locator('.jp-OutputArea-output').allTextContents()
    ).join();
    expect(outputs).toContain('"flights":3000000');
    expect(outputs).toContain('RangeError: bad HHMM "2460"');
    // It took the active cluster, so closing its client has left the cluster alone.
    await showSide(page, 'taskloom-sidebar');
    await cardSays('2 workers · 2 threads');
    expect(await card().count()).toBe(1);
  });
});

/** Writes down every value that a bar under a cell takes, in the page. */
async function watchBars(): Promise<void> {
  await page.evaluate(() => {
    const seen: Record<string, number[]> = {};
    Object.assign(window, { seenBars: seen });
    new MutationObserver(() => {
      for (const output of document.querySelectorAll<HTMLElement>('.tl-progress-output')) {
        const bar = output.querySelector('.tl-bar');
        const value = Number(bar?.getAttribute('aria-valuenow'));
        const values = (seen[output.dataset['tlProgress'] ?? ''] ??= []);
        if (values.at(-1) !== value) values.push(value);
      }
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
  });
}

const barValues = (): Promise<number[][]> =>
  page.evaluate(() => Object.values((window as unknown as { seenBars: object }).seenBars));

describe('panels', () => {
  const docked = (): Locator => page.locator('#taskloom-panel-task-stream');
  const inCell = (): Locator => notebook(page).locator('.tl-rendered-panel');
  const item = (id: string): Locator => page.locator(`[data-tl-panel-item="${id}"]`);

  it('docks the task stream beside the notebook by a drag', async () => {
    const edge = await pointIn(page.locator('#jp-main-dock-panel'), 0.99, 0.06);
    await drag(page, item('task-stream'), edge, async () => {
      await page.locator('.lm-DockPanel-overlay:not(.lm-mod-hidden)').waitFor();
    });
    await docked().waitFor();
    const place = await docked().boundingBox();
    const beside = await notebook(page).boundingBox();
    expect(place?.x).toBeGreaterThan((beside?.x ?? 0) + (beside?.width ?? 0) - 2);
    const canvas = docked().locator('.tl-stream-canvas canvas');
    await until('the stream is drawn', async () => (await colouredPixels(canvas)) > 100);
  });

  it('puts it into the notebook by a drag, drawn without a run', async () => {
    const cells = await notebook(page).locator('.jp-Cell').count();
    const body = await pointIn(notebook(page).locator('.jp-WindowedPanel-outer'), 0.5, 0.4);
    await drag(page, item('task-stream'), body, async () => {
      await notebook(page).locator('.jp-mod-dropTarget').first().waitFor({ state: 'attached' });
    });
    await inCell().waitFor();
    expect(await notebook(page).locator('.jp-Cell').count()).toBe(cells + 1);
    await inCell().scrollIntoViewIfNeeded();
    const canvas = inCell().locator('.tl-stream-canvas canvas');
    await until('the stream is drawn', async () => (await colouredPixels(canvas)) > 100);
  });

  it('opens the others by clicks, each with its table', async () => {
    await item('progress').click();
    await page.locator('#taskloom-panel-progress').waitFor();
    // The layout puts in its place what is not open yet, and leaves the rest where it is.
    await page.locator('.tl-default-layout').click();
    for (const [id, title] of Object.entries(PANELS)) {
      await dockTab(page, title).click();
      const panel = page.locator(`#taskloom-panel-${id}`);
      await panel.locator('.tl-table-toggle').click();
      await panel.locator('.tl-table-scroll tbody tr').first().waitFor();
      await panel.locator('.tl-table-toggle').click();
    }
  });
});

describe('workers come and go', () => {
  it('scales from 2 to 4 to 1 by the dialog', async () => {
    await scale(4);
    expect(workers()).toHaveLength(4);
    await scale(1);
    await until('three workers have ended', () => workers().length === 1);
    await scale(2);
  });

  it('computes what it should when a worker is killed meanwhile', async () => {
    // A file opens beside the tab that was used last.
    await dockTab(page, 'flights.ipynb').click();
    await openFile(page, 'slow.ipynb');
    await kernelIdle(page);
    await chooseMenu(page, 'Run', 'Run All Cells');
    const bar = notebook(page).locator('.tl-progress-output .tl-bar');
    const done = async (): Promise<number> => Number(await bar.getAttribute('aria-valuenow'));
    await until('some tasks are done', async () => (await done()) >= 6, 60_000);
    const before = workers();
    const victim = before[0] ?? 0;
    expect(await done()).toBeLessThan(30);
    kill(victim);
    await allCellsRun(page, 60_000);
    const output = notebook(page).locator('.jp-OutputArea-output', { hasText: 'sum' });
    expect(await output.innerText()).toContain('sum 20540');
    await until('the nanny has started another', () => {
      const now = workers();
      return !lives(victim) && now.length === 2 && now.some(pid => !before.includes(pid));
    });
    await showSide(page, 'taskloom-sidebar');
    await cardSays('2 workers · 2 threads');
  });
});

describe('connecting a notebook', () => {
  const name = async (): Promise<string> => card().locator('.tl-card-name').innerText();
  /** The code of the cell that is being written in. */
  const written = async (): Promise<string> =>
    (await notebook(page).locator('.jp-Cell.jp-mod-active .cm-line').allTextContents()).join('\n');

  it('inserts the cell in TypeScript by a click, and it runs', async () => {
    await card().locator('.tl-action-connect').click();
    await until('the cell is there', async () => (await written()).includes(await name()));
    expect(await written()).toBe(
      `import { Client } from "taskloom";\nconst client = await Client.connect("${await name()}");`
    );
    await page.keyboard.press('Control+Enter');
    await allCellsRun(page);
  });

  it.each([
    ['slow.ipynb', /^import \{ Client \} from "taskloom";/],
    ['python.ipynb', /^from taskloom import Client\n/]
  ])('inserts it into %s by a drag of the card, in its language', async (file, code) => {
    await openFile(page, file);
    await kernelIdle(page);
    const cells = await notebook(page).locator('.jp-Cell').count();
    await showSide(page, 'taskloom-sidebar');
    const body = await pointIn(notebook(page).locator('.jp-Cell').first(), 0.5, 0.5);
    await drag(page, card(), body, async () => {
      await notebook(page).locator('.jp-mod-dropTarget').first().waitFor({ state: 'attached' });
    });
    await until(
      'a cell more is there',
      async () => (await notebook(page).locator('.jp-Cell').count()) === cells + 1
    );
    const first = notebook(page).locator('.jp-Cell').first().locator('.cm-line');
    const lines = (await first.allTextContents()).join('\n');
    expect(lines).toMatch(code);
    expect(lines).toContain(`("${await name()}")`);
    await page.keyboard.press('Control+s');
  });
});

describe('the lab as a whole', () => {
  const docked = (id: string): Locator => page.locator(`#taskloom-panel-${id}`);

  it('looks well in both themes', async () => {
    await openFile(page, 'flights.ipynb');
    await showSide(page, 'taskloom-sidebar');
    await dockTab(page, PANELS['task-stream']).click();
    await notebook(page).locator('.tl-progress-output').first().scrollIntoViewIfNeeded();
    await page.mouse.move(750, 5);
    await screenshot(page, 'light');
    await chooseMenu(page, 'Settings', 'Theme', 'JupyterLab Dark');
    await page.locator('body[data-jp-theme-light="false"]').waitFor({ state: 'attached' });
    await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
    await page.mouse.move(750, 5);
    await screenshot(page, 'dark');
    await chooseMenu(page, 'Settings', 'Theme', 'JupyterLab Light');
    await page.locator('body[data-jp-theme-light="true"]').waitFor({ state: 'attached' });
    await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  });

  it('is restored by a reload: sidebar, panels, notebooks, the panel in the cell', async () => {
    await dockTab(page, 'flights.ipynb').click();
    await page.keyboard.press('Control+s');
    await page.locator('.lm-DockPanel-tabBar .jp-mod-dirty').waitFor({ state: 'detached' });
    const before = await docked('task-stream').boundingBox();
    const kept = async (): Promise<boolean> => {
      const answer = await fetch(lab.at('/lab/api/workspaces/default'));
      const text = await answer.text();
      return Object.keys(PANELS).every(id => text.includes(`"${id}"`));
    };
    await until('the layout has been stored', kept);
    await page.reload();
    await labStands(page);
    await page.locator('#taskloom-sidebar').waitFor();
    await cardSays('2 workers · 2 threads');
    await dockTab(page, 'flights.ipynb').waitFor();
    await docked('task-stream').waitFor();
    const after = await docked('task-stream').boundingBox();
    expect(after?.x).toBeCloseTo(before?.x ?? 0, -1);
    for (const title of Object.values(PANELS)) await dockTab(page, title).waitFor();
    const canvas = docked('task-stream').locator('.tl-stream-canvas canvas');
    await until('the stream is drawn again', async () => (await colouredPixels(canvas)) > 100);
    const inCell = notebook(page).locator('.tl-rendered-panel');
    await inCell.scrollIntoViewIfNeeded();
    const inner = inCell.locator('.tl-stream-canvas canvas');
    await until('so is the one in the cell', async () => (await colouredPixels(inner)) > 100);
    await screenshot(page, 'restored');
  });

  it('stops the cluster by the button, and everything says so', async () => {
    await card().locator('.tl-action-stop').click();
    await page.locator('.jp-Dialog .jp-mod-warn').click();
    await page.locator('#taskloom-sidebar .tl-card-ended').waitFor();
    const notice = docked('task-stream').locator('.tl-notice-ended');
    await notice.waitFor();
    expect(await notice.innerText()).toMatch(/^Ended .*: .*stopped.* This is the last state\.$/);
    await until('all its processes have ended', () => workers().length === 0);
    await docked('workers').locator('.tl-worker-name', { hasText: 'killed by SIGKILL' }).waitFor();
    await screenshot(page, 'stopped');
  });
});
