/** Task counts by function: what the progress panel shows. A row replaces the row before it. */
import type { ProgressColumns } from '../../protocol/feed.ts';

/** Counts of one function's tasks by state. */
export interface FunctionCounts {
  fn: number;
  waiting: number;
  queued: number;
  processing: number;
  memory: number;
  erred: number;
  released: number;
}

/** Sums over functions, with what people ask first. */
export interface ProgressTotals extends Omit<FunctionCounts, 'fn'> {
  total: number;
  /** In memory or released. */
  done: number;
}

export class ProgressTable {
  readonly #rows = new Map<number, FunctionCounts>();

  apply(columns: ProgressColumns): void {
    columns.fn.forEach((fn, i) => {
      this.#rows.set(fn, {
        fn,
        waiting: columns.waiting[i] ?? 0,
        queued: columns.queued[i] ?? 0,
        processing: columns.processing[i] ?? 0,
        memory: columns.memory[i] ?? 0,
        erred: columns.erred[i] ?? 0,
        released: columns.released[i] ?? 0
      });
    });
  }

  /** Rows of functions that have tasks, in order of their first appearance. */
  rows(): FunctionCounts[] {
    return [...this.#rows.values()].filter(row => totalOf(row) > 0).sort((a, b) => a.fn - b.fn);
  }

  totals(): ProgressTotals {
    const sums: ProgressTotals = {
      waiting: 0,
      queued: 0,
      processing: 0,
      memory: 0,
      erred: 0,
      released: 0,
      total: 0,
      done: 0
    };
    for (const row of this.#rows.values()) {
      sums.waiting += row.waiting;
      sums.queued += row.queued;
      sums.processing += row.processing;
      sums.memory += row.memory;
      sums.erred += row.erred;
      sums.released += row.released;
      sums.total += totalOf(row);
      sums.done += doneOf(row);
    }
    return sums;
  }
}

/** All tasks of a row, whatever their state. */
export function totalOf(row: Omit<FunctionCounts, 'fn'>): number {
  return row.waiting + row.queued + row.processing + row.memory + row.erred + row.released;
}

/** Tasks of a row that finished well. */
export function doneOf(row: Omit<FunctionCounts, 'fn'>): number {
  return row.memory + row.released;
}
