/**
 * A bar by itself under a cell whose tasks take longer than half a second: while the cell runs or
 * when it ends, and it goes on while they do. Which cell that is, the kernel's wrapper says before
 * each (an object with its id and execution count), so work of a later cell never moves a bar of an
 * earlier one. Off by `TASKLOOM_PROGRESS=off`, `automaticProgress(false)`, or by calling `progress`
 * in the cell. `python/taskloom/_cell.py` does the same for Python.
 */
import process from 'node:process';
import type { Future } from '../client/future.ts';
import { onSubmission } from '../client/submissions.ts';
import { Bars } from './bars.ts';
import { displayer } from './display.ts';
import type { Display } from './display.ts';
import { dataOf } from './progress-data.ts';

/** Milliseconds that tasks of a cell may take without a bar. */
const DELAY = 500;
/** Milliseconds between updates. */
const INTERVAL = 200;
/** Futures that one bar counts; of more it shows the first. */
const MOST = 100_000;

const CELL = Symbol.for('taskloom.cell');
const ENDED = Symbol.for('taskloom.cell-ended');
const shared = globalThis as unknown as Record<symbol, unknown>;

/** What one execution of a cell has submitted. */
interface Cell {
  /** The wrapper's object for it. */
  readonly mark: unknown;
  bars: Bars | null;
  byHand: boolean;
  ended: boolean;
  display: Display | null;
}

let on = !['off', '0', 'false', 'no'].includes(
  (process.env['TASKLOOM_PROGRESS'] ?? '').toLowerCase()
);
let current: Cell | null = null;
/**
 * Bars that have not been seen to end. Their state is told again at the end of each cell: what is
 * sent between two cells is heard by front ends, but not by what runs notebooks without one.
 */
const followed = new Set<{ bars: Bars; display: Display }>();

/** Shows bars under cells that submit work by themselves, or no longer. */
export function automaticProgress(shown: boolean): void {
  on = shown;
}

/** The cell that runs shows progress itself. */
export function shownByHand(): void {
  const cell = cellNow();
  if (cell !== null) cell.byHand = true;
}

function cellNow(): Cell | null {
  const mark = shared[CELL];
  if (mark === undefined) return null;
  if (current?.mark !== mark) {
    current = { mark, bars: null, byHand: false, ended: false, display: null };
    shared[ENDED] = ended;
  }
  return current;
}

function submitted(futures: readonly Future[]): void {
  const cell = on ? cellNow() : null;
  const session = futures[0]?.session;
  if (cell === null || session === undefined || cell.byHand || cell.ended) return;
  if (cell.bars === null) {
    cell.bars = new Bars(session);
    cell.bars.add(futures.slice(0, MOST));
    setTimeout(() => void follow(cell), DELAY);
  } else if (cell.bars.session === session) {
    cell.bars.add(futures.slice(0, MOST - cell.bars.size));
  }
}

/** The cell has ended: what is displayed first from now on would belong to the next. */
async function ended(): Promise<void> {
  for (const one of followed) {
    const over = one.bars.count() === 0;
    await one.display.show(dataOf(one.bars.bundle()), false);
    if (over) followed.delete(one);
  }
  const cell = current;
  if (cell === null || cell.mark !== shared[CELL] || cell.ended) return;
  cell.ended = true;
  const wanted = on && !cell.byHand && cell.display === null;
  if (wanted && cell.bars !== null && cell.bars.count() > 0) await begin(cell, cell.bars);
}

async function begin(cell: Cell, bars: Bars): Promise<void> {
  const display = displayer();
  cell.display = display;
  followed.add({ bars, display });
  await display.show(dataOf(bars.bundle()), true);
}

async function follow(cell: Cell): Promise<void> {
  const { bars } = cell;
  if (bars === null) return;
  if (cell.display === null) {
    if (cell.byHand || cell.ended || bars.count() === 0) {
      // Later submissions of the same cell begin anew.
      cell.bars = null;
      return;
    }
    await begin(cell, bars);
  }
  for (;;) {
    const running = bars.count() > 0;
    await cell.display?.show(dataOf(bars.bundle(await bars.askStates())), false);
    if (!running) break;
    await new Promise(resolve => setTimeout(resolve, INTERVAL));
  }
  cell.bars = null;
  cell.display = null;
}

onSubmission(submitted);
