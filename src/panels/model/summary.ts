/**
 * A panel in a sentence or two: read out by screen readers, shown where a drawing cannot be. The
 * text says what a sighted user would notice first: how much is done, what fails, who is stuck.
 */
import type { ProgressRow } from '../../protocol/progress.ts';
import { formatBytes, formatCount, formatDuration, formatPercent, plural } from './format.ts';
import type { FeedStore } from './store.ts';
import { memoryShare } from './workers.ts';

/** What the task stream shows between two times. */
export function summariseStream(store: FeedStore, t0: number, t1: number): string {
  const byFunction = new Map<number, { count: number; time: number }>();
  let erred = 0;
  let transfer = 0;
  let bars = 0;
  let busy = 0;
  store.stream.lanes.forEach((_, laneId) => {
    for (const slot of store.stream.slotsIn(laneId, t0, t1)) {
      const bar = store.stream.bar(slot);
      const inside = Math.min(t1, bar.start + bar.duration) - Math.max(t0, bar.start);
      if (inside < 0) continue;
      bars += 1;
      if (bar.kind === 'transfer') transfer += inside;
      if (bar.kind === 'erred') erred += 1;
      if (bar.kind !== 'compute' && bar.kind !== 'erred') continue;
      busy += inside;
      const sum = byFunction.get(bar.fn) ?? { count: 0, time: 0 };
      sum.count += 1;
      sum.time += inside;
      byFunction.set(bar.fn, sum);
    }
  });
  if (bars === 0) return `Task stream: nothing ran in these ${formatDuration(t1 - t0)}.`;
  const top = [...byFunction]
    .sort((a, b) => b[1].time - a[1].time)
    .slice(0, 3)
    .map(
      ([fn, sum]) =>
        `${store.nameOf(fn)} ${formatCount(sum.count)} times, ${formatDuration(sum.time)}`
    );
  const parts = [
    `Task stream of ${formatDuration(t1 - t0)}: ${plural(bars, 'bar', 'bars')}`,
    top.join('; ')
  ];
  if (transfer > 0) parts.push(`transfers ${formatPercent(transfer, busy + transfer)} of the time`);
  if (erred > 0) parts.push(`${formatCount(erred)} erred`);
  return `${parts.filter(part => part !== '').join('. ')}.`;
}

/** How far the cluster's tasks are. */
export function summariseProgress(store: FeedStore): string {
  const totals = store.progress.totals();
  if (totals.total === 0) return 'Progress: no tasks yet.';
  const parts = [
    `Progress: ${formatCount(totals.done)} of ${plural(totals.total, 'task', 'tasks')} done`,
    `${formatCount(totals.processing)} processing`
  ];
  if (totals.queued + totals.waiting > 0) {
    parts.push(`${formatCount(totals.queued + totals.waiting)} waiting`);
  }
  if (totals.erred > 0) parts.push(`${formatCount(totals.erred)} failed`);
  return `${parts.join(', ')}.`;
}

/** How the workers are. */
export function summariseWorkers(store: FeedStore): string {
  const totals = store.workers.totals();
  if (totals.workers === 0) return 'Workers: none.';
  const parts = [
    `Workers: ${formatCount(totals.workers)} with ${plural(totals.threads, 'thread', 'threads')}`,
    `${Math.round(totals.busy)} % busy`,
    totals.memoryLimit > 0
      ? `${formatBytes(totals.rss)} of ${formatBytes(totals.memoryLimit)} memory`
      : `${formatBytes(totals.rss)} memory`
  ];
  if (totals.paused > 0) parts.push(`${formatCount(totals.paused)} paused`);
  const full = store.workers.rows().filter(row => memoryShare(row) > 0.8);
  if (full.length > 0) parts.push(`over 80 % memory: ${full.map(row => row.info.name).join(', ')}`);
  return `${parts.join(', ')}.`;
}

/** One line of a progress bar: `132 / 240 · 9 failed`. */
export function countsOf(row: ProgressRow): string {
  const parts = [`${formatCount(row.done)} / ${formatCount(row.total)}`];
  if (row.erred > 0) parts.push(`${formatCount(row.erred)} failed`);
  if (row.cancelled > 0) parts.push(`${formatCount(row.cancelled)} cancelled`);
  const untouched = row.done + row.erred + row.cancelled + row.processing === 0;
  if (untouched && row.total > 0) parts.push('waits');
  return parts.join(' · ');
}
