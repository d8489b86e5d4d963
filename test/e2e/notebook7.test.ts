/**
 * Notebook 7: no sidebar and no dock there, but the same notebooks, kernels and progress bars, while
 * they run and as the saved file keeps them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { PROGRESS_MIME } from '../../src/protocol/progress.ts';
import { until } from '../deploy/processes.ts';
import {
  allCellsRun,
  chooseMenu,
  notebook,
  openBrowser,
  openPage,
  screenshot,
  watchFailures
} from './browser.ts';
import type { Browser, Page } from './browser.ts';
import { Lab } from './lab.ts';
import { notebook7 } from './notebook7.ts';

let lab: Lab;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  const program = await notebook7();
  [lab, browser] = await Promise.all([Lab.start({ name: 'notebook7', program }), openBrowser()]);
  page = await openPage(browser);
});
afterAll(async () => {
  await browser?.close();
  await lab?.dispose();
});
watchFailures('notebook7', () => page);

/** Whether a page is connected to an idle kernel. */
async function kernelConnected(): Promise<boolean> {
  const answer = await fetch(lab.at('/api/kernels'));
  const kernels = (await answer.json()) as { execution_state: string; connections: number }[];
  return kernels.some(kernel => kernel.execution_state === 'idle' && kernel.connections > 0);
}

/** The active cluster as the launcher tells it. */
async function activeCluster(): Promise<string | null> {
  const answer = await fetch(lab.at('/taskloom/clusters'));
  return ((await answer.json()) as { active: string | null }).active;
}

const bar = '.tl-progress-output .tl-bar';

it('draws the bar while the notebook runs', async () => {
  await page.goto(lab.at('/notebooks/slow.ipynb'));
  await notebook(page).locator('.jp-CodeCell').first().waitFor();
  await until('the kernel is connected', kernelConnected, 60_000);
  // No sidebar here: the menu makes the cluster that the notebook then takes.
  await chooseMenu(page, 'Taskloom', 'New Local Cluster');
  await until('the cluster is active', async () => (await activeCluster()) !== null);
  await chooseMenu(page, 'Run', 'Run All Cells');
  await page.locator('.tl-progress-output[data-tl-state="running"]').waitFor();
  await allCellsRun(page, 120_000);
  await page.locator('.tl-progress-output[data-tl-state="finished"]').waitFor();
  expect(await page.locator(bar).getAttribute('aria-valuenow')).toBe('40');
  // One connection file: the notebook has not made a cluster of its own.
  const files = readdirSync(lab.runtime).filter(name => name.endsWith('.json'));
  expect(files).toEqual([`${(await activeCluster()) ?? 'none'}.json`]);
});

it('draws it from the saved file, in which it stands whole', async () => {
  await page.keyboard.press('Control+s');
  const path = join(lab.notebooks, 'slow.ipynb');
  const saved = await until('the file holds the bar', () => {
    const text = readFileSync(path, 'utf8');
    return text.includes(PROGRESS_MIME) && text.includes('sum 20540') ? text : null;
  });
  expect(saved).toContain('text/html');
  await page.reload();
  await page.locator('.tl-progress-output[data-tl-state="finished"]').waitFor();
  expect(await page.locator(bar).getAttribute('aria-valuetext')).toBe('40 / 40');
  await screenshot(page, 'notebook7');
});

it('runs a Python notebook on the same cluster, with a bar under the cell that submits', async () => {
  await page.goto(lab.at('/notebooks/classic.ipynb'));
  await notebook(page).locator('.jp-CodeCell').first().waitFor();
  await until('the kernel is connected', kernelConnected, 60_000);
  await chooseMenu(page, 'Run', 'Run All Cells');
  await page.locator('.tl-progress-output[data-tl-state="running"]').waitFor();
  await allCellsRun(page, 60_000);
  await page.locator('.tl-progress-output[data-tl-state="finished"]').waitFor();
  expect(await page.locator(bar).getAttribute('aria-valuetext')).toBe('12 / 12');
  await notebook(page).locator('.jp-OutputArea-output', { hasText: 'total 506' }).waitFor();
  const files = readdirSync(lab.runtime).filter(name => name.endsWith('.json'));
  expect(files).toEqual([`${(await activeCluster()) ?? 'none'}.json`]);
  await screenshot(page, 'notebook7-python');
});
