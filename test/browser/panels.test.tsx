/** The panels in a real browser: what they show, how hands and keys move them, what is read out. */
import { createRoot } from 'react-dom/client';
import type { Root } from 'react-dom/client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { userEvent } from 'vitest/browser';

import '../../style/base.css';
import { packStream } from '../../src/panels/model/columns.ts';
import { FeedStore } from '../../src/panels/model/store.ts';
import { pagePalette } from '../../src/panels/view/panel.ts';
import { panelById, PANELS, PanelView } from '../../src/panels/view/registry.tsx';
import { plainWords } from '../../src/panels/view/words.ts';
import {
  blockOf,
  deltaOf,
  progressOf,
  snapshot,
  vitalsOf,
  workerOf
} from '../panels/feed-events.ts';
import type { BarEvent } from '../panels/feed-events.ts';

const T0 = 1_764_000_000_000;
let host: HTMLDivElement;
let root: Root;
let store: FeedStore;

const bar = (worker: number, start: number, duration: number, fn = 0): BarEvent => ({
  worker,
  lane: 0,
  fn,
  kind: 'compute',
  start: T0 + start,
  duration
});

beforeEach(() => {
  host = document.createElement('div');
  host.className = 'tl-root';
  host.style.cssText = 'width:800px;height:400px';
  document.body.append(host);
  root = createRoot(host);
  store = new FeedStore();
  store.apply(
    snapshot({
      now: T0 + 10_000,
      functions: ['readPart', 'byRoute'],
      workers: [workerOf(1), workerOf(2)],
      vitals: vitalsOf([
        { worker: 1, cpu: 90, rss: 0.5 * 1024 ** 3 },
        { worker: 2, cpu: 10, rss: 0.9 * 1024 ** 3 }
      ]),
      progress: progressOf([{ fn: 0, counts: [0, 0, 3, 100, 9, 32] }]),
      stream: packStream(blockOf([bar(1, 0, 5000), bar(2, 5000, 5000, 1)]))
    })
  );
});
afterEach(() => {
  root.unmount();
  host.remove();
});

function show(id: string, shown: FeedStore | null = store): void {
  const panel = panelById(id);
  if (panel === undefined) throw new Error(id);
  root.render(<PanelView panel={panel} store={shown} palette={pagePalette} words={plainWords} />);
}

const find = async <T extends Element>(selector: string): Promise<T> =>
  vi.waitFor(() => {
    const found = host.querySelector<T>(selector);
    if (found === null) throw new Error(`no ${selector}`);
    return found;
  });

/** Colour of a canvas pixel as #rrggbb. */
function pixel(canvas: HTMLCanvasElement, x: number, y: number): string {
  const scale = canvas.width / canvas.clientWidth;
  const data = canvas.getContext('2d')?.getImageData(x * scale, y * scale, 1, 1).data ?? [];
  return `#${[...data.slice(0, 3)].map(part => part.toString(16).padStart(2, '0')).join('')}`;
}

describe('every panel', () => {
  it.each(PANELS.map(panel => panel.id))('%s has a table twin on one key', async id => {
    show(id);
    const panel = await find<HTMLElement>('.tl-panel');
    panel.focus();
    await userEvent.keyboard('t');
    const table = await find<HTMLTableElement>('table');
    expect(table.textContent).toMatch(id === 'workers' ? /worker-1/ : /readPart/);
    const toggle = await find<HTMLButtonElement>('.tl-table-toggle');
    expect(toggle.getAttribute('aria-pressed')).toBe('true');
    await userEvent.keyboard('t');
    await vi.waitFor(() => expect(toggle.getAttribute('aria-pressed')).toBe('false'));
  });

  it.each(PANELS.map(panel => panel.id))('%s reads a summary out', async id => {
    show(id);
    const live = await find('[aria-live="polite"]');
    await vi.waitFor(() => expect(live.textContent).not.toBe(''), { timeout: 3000 });
    expect(live.textContent?.startsWith(panelById(id)?.title ?? '?')).toBe(true);
  });

  it.each(PANELS.map(panel => panel.id))(
    '%s keeps the last state of an ended cluster',
    async id => {
      show(id);
      await find('.tl-panel');
      store.apply({ op: 'end', now: T0 + 11_000, reason: 'worker 2 ran out of memory' });
      const notice = await find('.tl-notice-ended');
      expect(notice.textContent).toContain('worker 2 ran out of memory');
      expect(notice.textContent).toContain('last state');
      expect(host.querySelector('.tl-panel')?.getAttribute('data-tl-status')).toBe('ended');
    }
  );

  it.each(PANELS.map(panel => panel.id))('%s says so when there is no cluster', async id => {
    show(id, null);
    expect((await find('.tl-panel-empty')).textContent).toContain('No cluster yet');
  });
});

describe('the task stream', () => {
  const ready = async (): Promise<HTMLCanvasElement> => {
    show('task-stream');
    const canvas = await find<HTMLCanvasElement>('.tl-stream-canvas canvas');
    await vi.waitFor(() => expect(canvas.width).toBeGreaterThan(300));
    return canvas;
  };

  it('draws each worker’s bars in the colours of their functions', async () => {
    const canvas = await ready();
    await vi.waitFor(() => {
      expect(pixel(canvas, 200, 40)).toBe(pagePalette.cssOf('readPart'));
    });
    const y = canvas.clientHeight - 60;
    expect(pixel(canvas, canvas.clientWidth - 100, y)).toBe(pagePalette.cssOf('byRoute'));
    expect(pixel(canvas, 200, y)).not.toBe(pagePalette.cssOf('byRoute'));
  });

  it('tells of the bar under the pointer', async () => {
    const canvas = await ready();
    await userEvent.hover(canvas, { position: { x: 200, y: 40 } });
    const tooltip = await find('.tl-tooltip');
    expect(tooltip.textContent).toContain('readPart');
    expect(tooltip.textContent).toContain('5 s');
    expect(tooltip.textContent).toContain('worker-1');
  });

  it('leaves the user’s zoom alone when new bars come, and follows again when asked', async () => {
    const canvas = await ready();
    const live = await find('.tl-mode-live');
    expect(live.getAttribute('aria-pressed')).toBe('true');
    canvas.dispatchEvent(
      new WheelEvent('wheel', { deltaY: -300, clientX: 300, clientY: 100, cancelable: true })
    );
    await vi.waitFor(() => expect(live.getAttribute('aria-pressed')).toBe('false'));
    const clock = await find('.tl-timebar-clock');
    const before = clock.textContent;
    store.apply(deltaOf(1, T0 + 60_000, [{ type: 'bar', bar: bar(1, 50_000, 9000) }]));
    await new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    expect(clock.textContent).toBe(before);
    canvas.focus();
    await userEvent.keyboard('l');
    await vi.waitFor(() => expect(live.getAttribute('aria-pressed')).toBe('true'));
    await vi.waitFor(() => expect(clock.textContent).not.toBe(before));
  });

  it('moves by keys and fits', async () => {
    const canvas = await ready();
    canvas.focus();
    await userEvent.keyboard('{ArrowLeft}');
    const mode = await find('.tl-timebar-mode');
    await vi.waitFor(() => expect(mode.textContent).toBe('held'));
    await userEvent.keyboard('f');
    await vi.waitFor(() =>
      expect(host.querySelector('.tl-mode-fit')?.getAttribute('aria-pressed')).toBe('true')
    );
  });
});

describe('progress and workers', () => {
  it('shows counts beside bars that assistive technology can read', async () => {
    show('progress');
    const progress = await find('[role="progressbar"]');
    expect(progress.getAttribute('aria-valuenow')).toBe('132');
    expect(progress.getAttribute('aria-valuemax')).toBe('144');
    expect(host.textContent).toContain('132 / 144');
    expect(host.textContent).toContain('9 failed');
    store.apply(deltaOf(1, T0, [{ type: 'progress', fn: 0, counts: [0, 0, 0, 135, 9, 0] }]));
    await vi.waitFor(() => expect(progress.getAttribute('aria-valuenow')).toBe('135'));
  });

  it('names the worker that is short of memory in words', async () => {
    show('workers');
    await find('.tl-workers');
    const rows = [...host.querySelectorAll('.tl-workers tbody tr')].map(row => row.textContent);
    expect(rows[0]).toContain('running');
    expect(rows[1]).toContain('running, memory 90 %');
    const meter = host.querySelectorAll('[role="meter"]')[1];
    expect(meter?.getAttribute('aria-valuetext')).toContain('922 MiB of 1 GiB');
    store.apply(deltaOf(1, T0, [{ type: 'removed', worker: 2, reason: 'closed' }]));
    await vi.waitFor(() => expect(host.querySelectorAll('.tl-workers tbody tr')).toHaveLength(1));
  });
});
