/** A Dask collection in a real JupyterLab: its graph's bar under the cell, a row for each kind of task. */
import { afterAll, beforeAll, expect, it } from 'vitest';

import {
  chooseMenu,
  kernelIdle,
  labStands,
  notebook,
  openBrowser,
  openFile,
  openLab,
  openPage,
  screenshot,
  watchFailures
} from './browser.ts';
import type { Browser, Locator, Page } from './browser.ts';
import { Lab } from './lab.ts';

let lab: Lab;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  [lab, browser] = await Promise.all([Lab.start({ name: 'dask' }), openBrowser()]);
  page = await openPage(browser);
  await openLab(page, lab.url);
});
afterAll(async () => {
  await browser?.close();
  await lab?.dispose();
});
watchFailures('dask', () => page);

const cell = (): Locator =>
  notebook(page).locator('.jp-CodeCell', {
    has: page.locator('.jp-InputArea', { hasText: 'def smooth' })
  });
const bars = (state: string): Locator =>
  cell().locator(`.tl-progress-output[data-tl-state="${state}"]`);

it('shows all tasks of a graph by what they do, while the cell computes', async () => {
  await openFile(page, 'dask.ipynb');
  await kernelIdle(page);
  await chooseMenu(page, 'Run', 'Run All Cells');
  await bars('running').waitFor({ timeout: 60_000 });
  await cell().scrollIntoViewIfNeeded();
  await screenshot(page, 'dask-running');
  await bars('finished').waitFor({ timeout: 60_000 });
  const text = await bars('finished').innerText();
  expect(text).toContain('32 / 32');
  expect(text).toContain('var-partial');
  // The result stands below the bar.
  await cell().locator('.jp-OutputArea-output', { hasText: '0.29' }).waitFor();
  await screenshot(page, 'dask-light');
  await chooseMenu(page, 'Settings', 'Theme', 'JupyterLab Dark');
  await page.locator('body[data-jp-theme-light="false"]').waitFor({ state: 'attached' });
  await labStands(page);
  await screenshot(page, 'dask-dark');
});
