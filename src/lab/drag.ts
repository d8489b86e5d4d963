/**
 * Dragging a panel or a cluster out of the sidebar. One drag carries three forms of the same
 * thing, and where it is dropped decides: the dock takes a widget, a notebook takes a cell,
 * an editor takes text.
 */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { MimeData } from '@lumino/coreutils';
import { Drag } from '@lumino/dragdrop';
import type { Widget } from '@lumino/widgets';

import type { PanelType } from '../panels/view/registry.tsx';
import type { PanelBundle } from '../protocol/progress.ts';
import { PANEL_MIME } from '../protocol/progress.ts';
import { connectCode, languageOf } from './connect.ts';
import type { Language } from './connect.ts';

const CELLS_MIME = 'application/vnd.jupyter.cells';
const FACTORY_MIME = 'application/vnd.lumino.widget-factory';
const TEXT_MIME = 'text/plain';
/** Pixels that the pointer must move before a press becomes a drag. */
export const DRAG_THRESHOLD = 5;

/** A code cell as the notebook's drop handler takes it. */
export interface DroppedCell {
  cell_type: 'code';
  source: string;
  metadata: { trusted: true };
  outputs: unknown[];
  execution_count: null;
}

/** The cell of a panel: its output is there already, its code makes the same output again. */
export function panelCell(panel: PanelType, language: Language): DroppedCell {
  const bundle: PanelBundle = { version: 1, panel: panel.id, cluster: null };
  const data = { [PANEL_MIME]: bundle, [TEXT_MIME]: `Taskloom panel: ${panel.title}` };
  return {
    cell_type: 'code',
    source: panelCode(panel, language),
    metadata: { trusted: true },
    outputs: [{ output_type: 'display_data', data, metadata: {} }],
    execution_count: null
  };
}

/** Code that shows a panel, with nothing but what the kernel brings. */
export function panelCode(panel: PanelType, language: Language): string {
  const bundle = `{ "${PANEL_MIME}": { "version": 1, "panel": "${panel.id}", "cluster": `;
  return language === 'python'
    ? `from IPython.display import display\n` +
        `display(${bundle}None } }, raw=True)  # ${panel.title} of the active cluster`
    : `// ${panel.title} of the active cluster\n` +
        `await Deno.jupyter.display(${bundle}null } }, { raw: true });`;
}

/** The cell that connects to a cluster. */
export function connectCell(name: string, language: Language): DroppedCell {
  return {
    cell_type: 'code',
    source: connectCode(language, name),
    metadata: { trusted: true },
    outputs: [],
    execution_count: null
  };
}

/** Data of which some depends on the notebook that they are dropped on. */
class NotebookMimeData extends MimeData {
  readonly #made = new Map<string, () => unknown>();

  setMaker(mime: string, make: () => unknown): void {
    this.#made.set(mime, make);
    this.setData(mime, null);
  }

  override getData(mime: string): unknown {
    const make = this.#made.get(mime);
    return make === undefined ? super.getData(mime) : make();
  }
}

interface DragOptions {
  tracker: INotebookTracker | null;
  label: string;
  cell: (language: Language) => DroppedCell;
  /** Makes what the dock takes; absent = not for the dock. */
  widget?: () => Widget;
}

/** Starts a drag at a pointer position and resolves when it has ended. */
export async function startDrag(
  at: { clientX: number; clientY: number },
  options: DragOptions
): Promise<void> {
  const pointer = { x: at.clientX, y: at.clientY };
  const watch = (event: PointerEvent): void => {
    pointer.x = event.clientX;
    pointer.y = event.clientY;
  };
  const language = (): Language => languageOf(notebookAt(options.tracker, pointer));
  const mimeData = new NotebookMimeData();
  mimeData.setMaker(CELLS_MIME, () => [options.cell(language())]);
  mimeData.setMaker(TEXT_MIME, () => options.cell(language()).source);
  if (options.widget !== undefined) mimeData.setData(FACTORY_MIME, options.widget);
  const drag = new Drag({
    mimeData,
    dragImage: dragImage(options.label),
    proposedAction: 'copy',
    supportedActions: 'copy'
  });
  // Lumino waits for a pointerup that never comes when the browser takes the pointer away.
  const cancel = (): void => drag.dispose();
  document.addEventListener('pointermove', watch, true);
  document.addEventListener('pointerup', watch, true);
  document.addEventListener('pointercancel', cancel, true);
  try {
    await drag.start(at.clientX, at.clientY);
  } finally {
    document.removeEventListener('pointermove', watch, true);
    document.removeEventListener('pointerup', watch, true);
    document.removeEventListener('pointercancel', cancel, true);
    drag.dispose();
  }
}

/** The notebook under the pointer, else the one last used. */
function notebookAt(
  tracker: INotebookTracker | null,
  pointer: { x: number; y: number }
): NotebookPanel | null {
  if (tracker === null) return null;
  const inside = tracker.find(panel => {
    const box = panel.node.getBoundingClientRect();
    const wide = pointer.x >= box.left && pointer.x < box.right;
    return panel.isVisible && wide && pointer.y >= box.top && pointer.y < box.bottom;
  });
  return inside ?? tracker.currentWidget;
}

function dragImage(label: string): HTMLElement {
  const image = document.createElement('div');
  image.className = 'tl-drag-image';
  image.textContent = label;
  return image;
}
