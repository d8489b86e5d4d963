/**
 * What a lab leaves behind: nothing, whether it is told to end or killed outright, with a cluster
 * of the sidebar, a notebook at work on it, and a cluster that a notebook has made.
 */
import { readdirSync } from 'node:fs';

import { afterEach, describe, expect, it } from 'vitest';

import { lives, until } from '../deploy/processes.ts';
import {
  chooseMenu,
  kernelIdle,
  notebook,
  openBrowser,
  openFile,
  openLab,
  openPage,
  showSide,
  watchFailures
} from './browser.ts';
import type { Browser, Page } from './browser.ts';
import { Lab } from './lab.ts';

let lab: Lab | undefined;
let browser: Browser | undefined;
let page: Page | undefined;
watchFailures('life', () => page);
afterEach(async () => {
  await browser?.close();
  await lab?.dispose();
  lab = browser = page = undefined;
});

/** Roles of the lab's processes, by what their commands say. */
const ROLES: Record<string, RegExp> = {
  lab: /jupyter-lab/,
  launcher: / launcher --socket/,
  kernel: /taskloom\.kernel/,
  deno: /deno.* jupyter/,
  nanny: /nanny --supervised/,
  scheduler: /scheduler --supervised/,
  worker: /worker --supervised/
};

/** A lab in full use; resolves while a computation runs. */
async function busyLab(name: string): Promise<{ lab: Lab; page: Page }> {
  [lab, browser] = await Promise.all([Lab.start({ name }), openBrowser()]);
  page = await openPage(browser);
  await openLab(page, lab.url);
  await showSide(page, 'taskloom-sidebar');
  await page.locator('.tl-quick-cluster').click();
  await page.locator('.tl-card-running.tl-card-active').waitFor();
  await openFile(page, 'makes-cluster.ipynb');
  await kernelIdle(page);
  await chooseMenu(page, 'Run', 'Run All Cells');
  const made = notebook(page).locator('.jp-OutputArea-output', { hasText: 'made from-a-notebook' });
  await made.waitFor();
  await openFile(page, 'slow.ipynb');
  await kernelIdle(page);
  await chooseMenu(page, 'Run', 'Run All Cells');
  await notebook(page).locator('.tl-progress-output[data-tl-state="running"]').waitFor();
  return { lab, page };
}

describe.each(['SIGTERM', 'SIGKILL'] as const)('a lab that gets %s', signal => {
  it('leaves no process, no socket and no connection file', async () => {
    const busy = await busyLab(`life-${signal.toLowerCase()}`);
    const before = busy.lab.family();
    for (const [role, pattern] of Object.entries(ROLES)) {
      expect(
        before.some(({ command }) => pattern.test(command)),
        role
      ).toBe(true);
    }
    expect(before.filter(({ command }) => ROLES['scheduler']?.test(command))).toHaveLength(2);
    expect(busy.lab.sockets()).not.toEqual([]);
    const ended = Date.now();
    await busy.lab.end(signal);
    await until(
      'every process has ended',
      () => busy.lab.family().length === 0 && !before.some(({ pid }) => lives(pid)),
      30_000
    );
    console.log(`${signal}: all ${before.length} processes gone in ${Date.now() - ended} ms`);
    expect(busy.lab.sockets()).toEqual([]);
    expect(readdirSync(busy.lab.runtime).filter(name => name.endsWith('.json'))).toEqual([]);
  });
});
