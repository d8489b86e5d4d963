/**
 * The bundle of `application/vnd.taskloom.progress+json`: progress of a set of futures, drawn
 * under a cell, kept in the notebook file. Made by any client (TypeScript or Python), drawn by the
 * lab's renderer; `text/html` and `text/plain` of the same state travel beside it.
 */
export const PROGRESS_MIME = 'application/vnd.taskloom.progress+json';

/** The bundle of `application/vnd.taskloom.panel+json`: a dashboard panel as a cell's output. */
export const PANEL_MIME = 'application/vnd.taskloom.panel+json';

export interface ProgressRow {
  /** Function name. */
  name: string;
  total: number;
  /** Finished, whether still held in memory or released. */
  done: number;
  erred: number;
  cancelled: number;
  /** Being worked on now. */
  processing: number;
}

export interface ProgressBundle {
  version: 1;
  /** Unique in the notebook; updates of one display keep it. */
  id: string;
  cluster: { id: string; name: string };
  rows: ProgressRow[];
  /** Seconds since the first of these futures was submitted. */
  elapsed: number;
  /** Estimated seconds left, or null when unknown or done. */
  left: number | null;
  state: 'running' | 'finished' | 'erred' | 'cancelled' | 'lost';
  /** One sentence when something is worth saying (first error, lost connection), or null. */
  note: string | null;
}

export interface PanelBundle {
  version: 1;
  /** Panel id, such as `task-stream`. */
  panel: string;
  /** Cluster id, or null: follow the active cluster. */
  cluster: string | null;
}
