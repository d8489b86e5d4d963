/**
 * Clusters that were made elsewhere: the sidebar shows them soon after their connection file is
 * there, and drops them soon after they were killed. Both ends are measured by one clock: the file's
 * time or the signal's, and the moment at which the page has changed.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { ConnectionFile } from '../../src/config/connection-file.ts';
import { commandPath, nodePath } from '../../src/config/runtime.ts';
import { lives, processes, until } from '../deploy/processes.ts';
import {
  chooseMenu,
  kernelIdle,
  openBrowser,
  openFile,
  openLab,
  openPage,
  screenshot,
  showSide,
  watchFailures
} from './browser.ts';
import type { Browser, Page } from './browser.ts';
import { kill, Lab } from './lab.ts';

const SHOWN_MS = 2000;
const GONE_MS = 5000;

let lab: Lab;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  [lab, browser] = await Promise.all([Lab.start({ name: 'discovery' }), openBrowser()]);
  page = await openPage(browser);
  await openLab(page, lab.url);
  await showSide(page, 'taskloom-sidebar');
  await noteCards();
});
afterAll(async () => {
  await browser?.close();
  await lab?.dispose();
});
watchFailures('discovery', () => page);

/** Writes down in the page when each card came and went, ms since the epoch. */
async function noteCards(): Promise<void> {
  await page.evaluate(() => {
    const notes: Record<string, { shown: number; gone: number | null }> = {};
    Object.assign(window, { cardNotes: notes });
    const look = (): void => {
      const cards = document.querySelectorAll<HTMLElement>('.tl-card');
      const here = [...cards].map(card => card.dataset['tlCluster'] ?? '');
      for (const id of here) notes[id] ??= { shown: Date.now(), gone: null };
      for (const [id, note] of Object.entries(notes)) {
        if (!here.includes(id)) note.gone ??= Date.now();
      }
    };
    look();
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
  });
}

async function noteOf(id: string): Promise<{ shown: number; gone: number | null } | undefined> {
  const notes = await page.evaluate(() => (window as unknown as { cardNotes: object }).cardNotes);
  return (notes as Record<string, { shown: number; gone: number | null }>)[id];
}

/** The connection file of the cluster of this name, once it is there, and when it was written. */
function fileOf(name: string): Promise<{ file: ConnectionFile; written: number }> {
  return until(
    `the connection file of ${name}`,
    () => {
      for (const each of readdirSync(lab.runtime).filter(entry => entry.endsWith('.json'))) {
        const path = join(lab.runtime, each);
        const file = JSON.parse(readFileSync(path, 'utf8')) as ConnectionFile;
        if (file.name === name) return { file, written: statSync(path).mtimeMs };
      }
      return null;
    },
    60_000
  );
}

/** Scheduler, nanny and workers of a cluster. */
function partsOf(file: ConnectionFile): number[] {
  const all = processes();
  const nanny = all.find(({ pid }) => pid === file.pid)?.parent;
  if (nanny === undefined) throw new Error(`the scheduler of ${file.name} does not run`);
  return [nanny, ...all.filter(({ parent }) => parent === nanny).map(({ pid }) => pid)];
}

/** Waits for the card and holds it to the bound; tells the time that it took. */
async function comesInTime(name: string): Promise<ConnectionFile> {
  const { file, written } = await fileOf(name);
  await page.locator(`.tl-card[data-tl-cluster="${file.id}"]`, { hasText: name }).waitFor();
  const took = ((await noteOf(file.id))?.shown ?? Infinity) - written;
  console.log(`${name}: in the sidebar ${Math.round(took)} ms after its connection file`);
  expect(took).toBeLessThan(SHOWN_MS);
  return file;
}

/** Kills, waits until the card has gone and holds that to the bound. */
async function goesInTime(file: ConnectionFile, pids: readonly number[]): Promise<void> {
  const parts = partsOf(file);
  const killed = Date.now();
  for (const pid of pids) kill(pid);
  const gone = await until('the card has gone', async () => (await noteOf(file.id))?.gone);
  console.log(`${file.name}: out of the sidebar ${gone - killed} ms after SIGKILL`);
  expect(gone - killed).toBeLessThan(GONE_MS);
  await until('all its processes have ended', () => !parts.some(lives));
  const left = readdirSync(lab.runtime).filter(name => name === `${file.id}.json`);
  expect(left).toEqual([]);
}

describe('a cluster made elsewhere', () => {
  it('by the command line comes, can be used, and goes when all of it is killed', async () => {
    const args = ['cluster', 'start', '--workers', '1', '--threads', '1', '--name', 'from-cli'];
    const command = spawn(nodePath(), [commandPath(), ...args], {
      env: lab.env,
      stdio: 'ignore'
    });
    const file = await comesInTime('from-cli');
    const card = page.locator(`.tl-card[data-tl-cluster="${file.id}"]`);
    await card.locator('.tl-card-facts', { hasText: 'made by command line' }).waitFor();
    await card.locator('.tl-card-facts', { hasText: '1 worker · 1 thread' }).waitFor();
    await card.click();
    await page.locator(`.tl-card-active[data-tl-cluster="${file.id}"]`).waitFor();
    await page.locator('.tl-status-button', { hasText: 'from-cli' }).waitFor();
    await screenshot(page, 'discovery');
    await goesInTime(file, [command.pid ?? 0, ...partsOf(file)]);
    await page.locator('.tl-status-button').waitFor({ state: 'hidden' });
  });

  it('by a notebook comes, and goes with its kernel', async () => {
    await openFile(page, 'makes-cluster.ipynb');
    await kernelIdle(page);
    // Shown, and not only known, is what counts.
    await showSide(page, 'taskloom-sidebar');
    await chooseMenu(page, 'Run', 'Run All Cells');
    const file = await comesInTime('from-a-notebook');
    const card = page.locator(`.tl-card[data-tl-cluster="${file.id}"]`);
    await card.locator('.tl-card-facts', { hasText: 'made by' }).waitFor();
    expect(await card.locator('.tl-card-facts').innerText()).toContain('makes-cluster.ipynb');
    const kernel = lab
      .family()
      .filter(({ command }) => /taskloom\.kernel|deno.* jupyter/.test(command))
      .map(({ pid }) => pid);
    expect(kernel.length).toBeGreaterThan(1);
    await goesInTime(file, kernel);
  });
});
