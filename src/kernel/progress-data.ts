/** A progress bundle as a display: the MIME type that the lab draws, and html and text for others. */
import { PROGRESS_MIME } from '../protocol/progress.ts';
import type { ProgressBundle, ProgressRow } from '../protocol/progress.ts';

/** The bundle with html and text of the same state beside it. */
export function dataOf(bundle: ProgressBundle): Record<string, unknown> {
  return {
    [PROGRESS_MIME]: bundle,
    'text/html': htmlOf(bundle),
    'text/plain': textOf(bundle)
  };
}

function timesOf(bundle: ProgressBundle): string {
  const left =
    bundle.left === null ? '' : ` · about ${Math.max(1, Math.round(bundle.left))} s left`;
  return `${bundle.elapsed.toFixed(1)} s${left}`;
}

function countsOf(row: ProgressRow): string {
  const failed = row.erred > 0 ? ` · ${row.erred} failed` : '';
  const cancelled = row.cancelled > 0 ? ` · ${row.cancelled} cancelled` : '';
  return `${row.done} / ${row.total}${failed}${cancelled}`;
}

/** One line a function, for terminals and text outputs. */
export function textOf(bundle: ProgressBundle): string {
  const width = Math.max(...bundle.rows.map(row => row.name.length));
  const lines = bundle.rows.map(row => {
    const filled = Math.round(
      (30 * (row.done + row.erred + row.cancelled)) / Math.max(1, row.total)
    );
    return `${row.name.padEnd(width)} |${'█'.repeat(filled)}${' '.repeat(30 - filled)}| ${countsOf(row)}`;
  });
  const note = bundle.note === null ? [] : [bundle.note];
  return [...lines, timesOf(bundle), ...note].join('\n');
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, char => `&#${char.charCodeAt(0)};`);
}

/** For front ends without the extension, and for nbconvert. */
export function htmlOf(bundle: ProgressBundle): string {
  const rows = bundle.rows.map(
    row =>
      `<tr><td>${escapeHtml(row.name)}</td><td><progress max="${row.total}" value="${row.done}">` +
      `${countsOf(row)}</progress></td><td>${countsOf(row)}</td></tr>`
  );
  const note = bundle.note === null ? '' : `<p>${escapeHtml(bundle.note)}</p>`;
  return `<table>${rows.join('')}</table><p>${timesOf(bundle)}</p>${note}`;
}
