/**
 * Three projects: `node` (logic, real processes), `browser` (widgets and drawing in a real
 * Chromium), `e2e` (a whole JupyterLab, one file at a time). Nothing listens beyond loopback.
 */
import { existsSync } from 'node:fs';

import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';

/** Debian's Chromium unless CHROMIUM names another; Playwright's own when neither is there. */
function chromiumPath(): string | undefined {
  const named = process.env['CHROMIUM'];
  if (named !== undefined && named !== '') return named;
  return ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(path =>
    existsSync(path)
  );
}

const executablePath = chromiumPath();
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'node',
          environment: 'node',
          include: ['test/**/*.test.ts'],
          exclude: ['test/browser/**', 'test/e2e/**'],
          // Tests here start real processes; a machine with few cores needs room.
          testTimeout: 30_000,
          hookTimeout: 30_000
        }
      },
      {
        // Found only while a test runs, these would make the page load anew under it.
        optimizeDeps: {
          include: [
            '@jupyterlab/apputils',
            '@jupyterlab/coreutils',
            '@jupyterlab/notebook',
            '@jupyterlab/rendermime',
            '@jupyterlab/services',
            '@jupyterlab/ui-components',
            '@lumino/coreutils',
            '@lumino/dragdrop',
            '@lumino/signaling',
            '@lumino/widgets',
            'msgpackr',
            'react',
            'react/jsx-dev-runtime',
            'react-dom/client'
          ]
        },
        test: {
          name: 'browser',
          include: ['test/browser/**/*.test.{ts,tsx}'],
          api: { host: '127.0.0.1' },
          testTimeout: 30_000,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            provider: playwright({
              launchOptions: { args, ...(executablePath === undefined ? {} : { executablePath }) }
            }),
            instances: [{ browser: 'chromium' }]
          }
        }
      },
      {
        test: {
          name: 'e2e',
          environment: 'node',
          include: ['test/e2e/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 180_000
        }
      }
    ]
  }
});
