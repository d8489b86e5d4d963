/**
 * A Python notebook in a real JupyterLab: a cluster of the sidebar, the connecting cell, bars under
 * the cells that submit, tables in both themes, and a kernel that is restarted while the cluster
 * lives. One walk in steps; each stands on those before it.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';

import { until } from '../deploy/processes.ts';
import {
  allCellsRun,
  chooseMenu,
  kernelIdle,
  notebook,
  openBrowser,
  openFile,
  openLab,
  openPage,
  screenshot,
  showSide,
  watchFailures
} from './browser.ts';
import type { Browser, Locator, Page } from './browser.ts';
import { Lab } from './lab.ts';

let lab: Lab;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  [lab, browser] = await Promise.all([Lab.start({ name: 'python' }), openBrowser()]);
  page = await openPage(browser);
  await openLab(page, lab.url);
});
afterAll(async () => {
  await browser?.close();
  await lab?.dispose();
});
watchFailures('python', () => page);

/** The code cell with this text in its source. */
const cell = (code: string): Locator =>
  notebook(page).locator('.jp-CodeCell', {
    has: page.locator('.jp-InputArea', { hasText: code })
  });
/** What a cell shows below itself. */
const output = (code: string): Locator => cell(code).locator('.jp-OutputArea-output');
/** The bars below a cell, in this state. */
const bars = (code: string, state: string): Locator =>
  cell(code).locator(`.tl-progress-output[data-tl-state="${state}"]`);
const card = (): Locator => page.locator('#taskloom-sidebar .tl-card');

/** Runs a cell by keyboard, and waits until its number stands there. */
async function runCell(code: string): Promise<void> {
  await cell(code).locator('.jp-InputArea-editor').first().click();
  await page.keyboard.press('Control+Enter');
  const prompt = cell(code).locator('.jp-InputPrompt');
  await until('the cell has run', async () => /\[\d+\]/.test(await prompt.innerText()), 60_000);
}

/** Pids of the workers' processes. */
const workers = (): number[] =>
  lab
    .family()
    .filter(({ command }) => command.includes('worker --supervised'))
    .map(({ pid }) => pid)
    .toSorted((a, b) => a - b);

it('connects a Python notebook to a cluster of the sidebar by the button', async () => {
  await showSide(page, 'taskloom-sidebar');
  await page.locator('.tl-quick-cluster').click();
  await page.locator('.tl-card-running.tl-card-active').waitFor();
  const name = await card().locator('.tl-card-name').innerText();
  await openFile(page, 'work.ipynb');
  await kernelIdle(page);
  await showSide(page, 'taskloom-sidebar');
  await card().locator('.tl-action-connect').click();
  await cell('from taskloom import Client').waitFor();
  const lines = cell('from taskloom import Client').locator('.cm-line');
  expect((await lines.allTextContents()).join('\n')).toBe(
    `from taskloom import Client\nclient = Client("${name}")`
  );
  await chooseMenu(page, 'Run', 'Run All Cells');
});

it('shows a bar under the cell that submitted, though others run by then', async () => {
  const submits = 'client.map';
  await bars(submits, 'running').waitFor();
  await output('"next"').filter({ hasText: 'next 42' }).waitFor();
  await cell(submits).scrollIntoViewIfNeeded();
  await screenshot(page, 'python-running');
  await allCellsRun(page, 60_000);
  await bars(submits, 'finished').waitFor();
  const bar = bars(submits, 'finished').locator('.tl-bar');
  expect(await bar.getAttribute('aria-valuetext')).toBe('16 / 16');
  // The cell that only waits has submitted nothing, so there is one bar.
  expect(await notebook(page).locator('.tl-progress-output').count()).toBe(1);
  expect((await output('"total"').innerText()).trim()).toBe('total 1240');
  expect((await output('"held"').innerText()).trim()).toBe('held 16');
});

it('shows tables of clients and futures in both themes', async () => {
  const table = cell('futures[0]').locator('.jp-RenderedHTMLCommon');
  await table.locator('td', { hasText: 'finished' }).waitFor();
  const client = notebook(page).locator('.jp-RenderedHTMLCommon', { hasText: 'Dashboard' });
  await client.locator('summary').click();
  await client.locator('td', { hasText: 'worker-0' }).waitFor();
  for (const theme of ['Light', 'Dark']) {
    await chooseMenu(page, 'Settings', 'Theme', `JupyterLab ${theme}`);
    const light = `body[data-jp-theme-light="${String(theme === 'Light')}"]`;
    await page.locator(light).waitFor({ state: 'attached' });
    await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
    await client.scrollIntoViewIfNeeded();
    await page.mouse.move(750, 5);
    await screenshot(page, `python-${theme.toLowerCase()}`);
    // Text must differ from what is behind it; both come from the theme.
    const [text, behind] = await client.locator('td').first().evaluate(coloursOf);
    expect(Math.abs((text ?? 0) - (behind ?? 0))).toBeGreaterThan(100);
  }
});

/** Brightness of a cell's text and of what it stands on, each 0 to 255. */
function coloursOf(element: Element): number[] {
  const brightness = (colour: string): number => {
    const [r = 0, g = 0, b = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number);
    return 0.3 * r + 0.59 * g + 0.11 * b;
  };
  let behind: Element | null = element;
  const shade = (one: Element): string => getComputedStyle(one).backgroundColor;
  while (behind !== null && /, 0\)$|transparent/.test(shade(behind))) behind = behind.parentElement;
  return [
    brightness(getComputedStyle(element).color),
    brightness(behind === null ? 'rgb(255,255,255)' : shade(behind))
  ];
}

it('keeps the cluster when the kernel is restarted, and lets its futures go', async () => {
  const before = workers();
  await chooseMenu(page, 'Kernel', 'Restart Kernel and Clear Outputs of All Cells…');
  await page.locator('.jp-Dialog .jp-mod-accept').click();
  await page.locator('.jp-Dialog').waitFor({ state: 'detached' });
  await until(
    'the prompts are empty',
    async () => {
      const prompts = await notebook(page).locator('.jp-CodeCell .jp-InputPrompt').allInnerTexts();
      return prompts.every(text => !/\d/.test(text));
    },
    30_000
  );
  await kernelIdle(page);
  await runCell('futures[0]');
  expect(await output('futures[0]').innerText()).toContain("name 'futures' is not defined");
  await runCell('from taskloom import Client');
  await runCell('"held"');
  expect((await output('"held"').innerText()).trim()).toBe('held 0');
  expect(workers()).toEqual(before);
  await card().locator('text=/2 workers|1 worker/').first().waitFor();
});

it('works on with the same cluster after that', async () => {
  await chooseMenu(page, 'Run', 'Run All Cells');
  await bars('client.map', 'running').waitFor();
  await allCellsRun(page, 60_000);
  await bars('client.map', 'finished').waitFor();
  expect((await output('"total"').innerText()).trim()).toBe('total 1240');
  expect(await card().count()).toBe(1);
});
