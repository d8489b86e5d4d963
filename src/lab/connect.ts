/** The cell that connects a notebook to a cluster, in the notebook's own language. */
import { NotebookActions } from '@jupyterlab/notebook';
import type { NotebookPanel } from '@jupyterlab/notebook';

/** Languages that have a client. */
export type Language = 'typescript' | 'python';

/** The code of the cell. The name is quoted as a JSON string, which both languages read. */
export function connectCode(language: Language, name: string): string {
  const quoted = JSON.stringify(name);
  return language === 'python'
    ? `from taskloom import Client\nclient = Client(${quoted})`
    : `import { Client } from "taskloom";\nconst client = await Client.connect(${quoted});`;
}

/** Language of a notebook by the kernel that runs or by what its file says; Python if it says nothing. */
export function languageOf(panel: NotebookPanel | null): Language {
  const model = panel?.model;
  if (panel === null || model === null || model === undefined) return 'python';
  const kernel = panel.sessionContext.session?.kernel?.name;
  const specs = panel.sessionContext.specsManager.specs?.kernelspecs;
  const running = kernel === undefined ? undefined : specs?.[kernel]?.language;
  const info = model.getMetadata('language_info') as { name?: string } | undefined;
  const spec = model.getMetadata('kernelspec') as { language?: string; name?: string } | undefined;
  return toLanguage(running ?? info?.name ?? spec?.language ?? spec?.name ?? '');
}

/** Our word for a kernel's language. */
export function toLanguage(name: string): Language {
  return /typescript|javascript|deno/i.test(name) ? 'typescript' : 'python';
}

/** Puts code into the active cell when that is empty, otherwise into a new cell above it. */
export function insertCode(panel: NotebookPanel, code: string): void {
  const notebook = panel.content;
  const active = notebook.activeCell?.model;
  const free = active?.type === 'code' && active.sharedModel.getSource().trim() === '';
  if (!free) NotebookActions.insertAbove(notebook);
  const cell = notebook.activeCell;
  if (cell === null) return;
  cell.model.sharedModel.setSource(code);
  void NotebookActions.focusActiveCell(notebook);
}
