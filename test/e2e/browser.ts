/**
 * A person at the lab: a page in a real Chromium, moved by mouse and keyboard only. What a test
 * asks of the page it reads from the document, as a person reads the screen.
 *
 * When a test fails, `watchFailures` leaves a picture of the page in test-results/.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';
import type { Browser, Locator, Page } from 'playwright-core';
import { beforeEach } from 'vitest';

import { until } from '../deploy/processes.ts';
import { results } from './lab.ts';

export type { Browser, Locator, Page };

const screens = join(results, 'screens');

/** Debian's Chromium unless CHROMIUM names another. */
function chromiumPath(): string {
  const known = [
    process.env['CHROMIUM'],
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome'
  ];
  const found = known.find(path => path !== undefined && path !== '' && existsSync(path));
  if (found === undefined) throw new Error('No Chromium: name one with CHROMIUM=/path/to/chrome');
  return found;
}

/** Opens the browser. */
export async function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumPath(),
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync'
    ]
  });
}

/** A page of the size that people look at, which gives up an action after half a minute. */
export async function openPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage({ viewport: { width: 1500, height: 900 } });
  page.setDefaultTimeout(30_000);
  return page;
}

/** Goes to the lab and waits until its shell stands. */
export async function openLab(page: Page, url: string): Promise<void> {
  try {
    await page.goto(url);
    await labStands(page);
  } catch (error) {
    await page.screenshot({ path: join(results, 'lab-does-not-open.png') });
    throw error;
  }
}

/** The shell with its side bars is there and the splash has gone. */
export async function labStands(page: Page): Promise<void> {
  await page.locator('#jp-main-dock-panel').waitFor();
  await page.locator('.jp-SideBar .lm-TabBar-tab[data-id="taskloom-sidebar"]').waitFor();
  await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
}

/** Writes a picture for people to look at. */
export async function screenshot(page: Page, name: string): Promise<void> {
  mkdirSync(screens, { recursive: true });
  await page.screenshot({ path: join(screens, `${name}.png`) });
}

/**
 * Pictures of failed tests, and no further steps after a failed one: each step of a walk stands
 * on those before it.
 */
export function watchFailures(name: string, page: () => Page | undefined): void {
  let failed = false;
  beforeEach(context => {
    if (failed) context.skip('an earlier step failed');
    context.onTestFailed(async () => {
      failed = true;
      const step = context.task.name.replaceAll(/\W+/g, '-').slice(0, 60);
      const open = page();
      if (open === undefined || open.isClosed()) return;
      mkdirSync(results, { recursive: true });
      await open.screenshot({ path: join(results, `${name}-failed-${step}.png`) });
    });
  });
}

/** Shows a side panel by its tab, unless it is there already. */
export async function showSide(page: Page, id: 'taskloom-sidebar' | 'filebrowser'): Promise<void> {
  const tab = page.locator(`.jp-SideBar .lm-TabBar-tab[data-id="${id}"]`);
  if (!(await tab.getAttribute('class'))?.includes('lm-mod-current')) await tab.click();
  await page.locator(`#${id}`).waitFor();
}

/** Opens a file by a double click in the file browser. */
export async function openFile(page: Page, name: string): Promise<void> {
  await showSide(page, 'filebrowser');
  await page.locator('.jp-DirListing-item', { hasText: name }).dblclick();
}

/** Chooses an item of a menu of the menu bar, or of a menu below it. */
export async function chooseMenu(page: Page, menu: string, ...items: string[]): Promise<void> {
  const exact = (text: string): RegExp => new RegExp(`^${text}$`);
  await page.locator('.lm-MenuBar-item', { hasText: exact(menu) }).click();
  for (const [depth, item] of items.entries()) {
    const label = page
      .locator('.lm-Menu')
      .nth(depth)
      .locator('.lm-Menu-itemLabel', { hasText: exact(item) });
    if (depth < items.length - 1) await label.hover();
    else await label.click();
  }
}

/** A tab of the main area. */
export function dockTab(page: Page, title: string): Locator {
  return page.locator('.lm-DockPanel-tabBar .lm-TabBar-tab', { hasText: title });
}

/** The notebook in front. */
export function notebook(page: Page): Locator {
  return page.locator('.jp-NotebookPanel:not(.lm-mod-hidden)');
}

/** Waits until the kernel of the notebook in front is there and has nothing to do. */
export async function kernelIdle(page: Page): Promise<void> {
  // The notebook's own toolbar says "idle" before there is a kernel at all.
  const says = page.locator('#jp-main-statusbar', { hasText: /\S \| Idle/ });
  await says.waitFor({ timeout: 60_000 });
}

/** How many code cells have been run to their end, and how many there are. */
export async function cellsRun(page: Page): Promise<{ done: number; all: number }> {
  const prompts = await notebook(page).locator('.jp-CodeCell .jp-InputPrompt').allTextContents();
  return { done: prompts.filter(text => /\[\d+\]/.test(text)).length, all: prompts.length };
}

/** Runs every cell by the menu and waits until all have ended. */
export async function runAllCells(page: Page, limitMs = 60_000): Promise<void> {
  await chooseMenu(page, 'Run', 'Run All Cells');
  await allCellsRun(page, limitMs);
}

/** Waits until every code cell has ended; a cell that fails ends the wait with its error. */
export async function allCellsRun(page: Page, limitMs = 60_000): Promise<void> {
  const failed = notebook(page).locator(
    ['error', 'stderr'].map(kind => `[data-mime-type="application/vnd.jupyter.${kind}"]`).join()
  );
  const look = async (): Promise<boolean> => {
    if ((await failed.count()) > 0) throw new Error(await failed.first().innerText());
    const { done, all } = await cellsRun(page);
    return all > 0 && done === all;
  };
  await until('all cells have run', look, limitMs);
}

/**
 * Drags from the middle of one thing to a point, in steps and with a rest before the button is
 * let go: the lab finds its drop target by the moves that it sees.
 */
export async function drag(
  page: Page,
  from: Locator,
  to: { x: number; y: number },
  over: () => Promise<unknown>
): Promise<void> {
  await from.scrollIntoViewIfNeeded();
  const box = await from.boundingBox();
  if (box === null) throw new Error('What shall be dragged is not on the screen.');
  const start = { x: box.x + Math.min(40, box.width / 2), y: box.y + Math.min(14, box.height / 2) };
  await page.mouse.move(start.x, start.y);
  await page.mouse.down();
  await page.mouse.move(start.x + 8, start.y + 8, { steps: 3 });
  await page.locator('.tl-drag-image').waitFor();
  await page.mouse.move(to.x, to.y, { steps: 15 });
  // The overlay or the line between the cells shows where it would go.
  try {
    await over();
  } finally {
    await page.mouse.up();
  }
}

/** A point inside a thing, by shares of its width and height. */
export async function pointIn(
  thing: Locator,
  across: number,
  down: number
): Promise<{ x: number; y: number }> {
  const box = await thing.boundingBox();
  if (box === null) throw new Error('The target of the drag is not on the screen.');
  return { x: box.x + box.width * across, y: box.y + box.height * down };
}

/** How many pixels of a canvas have a colour of strong hue: bars, not axes or text. */
export async function colouredPixels(canvas: Locator): Promise<number> {
  return canvas.evaluate(element => {
    const drawn = element as HTMLCanvasElement;
    const context = drawn.getContext('2d');
    if (context === null || drawn.width === 0 || drawn.height === 0) return 0;
    const { data } = context.getImageData(0, 0, drawn.width, drawn.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
      const [r = 0, g = 0, b = 0, a = 0] = data.subarray(i, i + 4);
      if (a > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 60) count += 1;
    }
    return count;
  });
}
