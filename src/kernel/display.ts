/**
 * Where rich output goes: the front end of a Deno kernel, else the terminal. Only explicit, awaited
 * messages are sent: what a kernel prints last may arrive after the cell has ended.
 */
import { randomUUID } from 'node:crypto';
import process from 'node:process';

export interface Display {
  /** Shows a bundle of MIME types; `first` makes the display, later calls update it. */
  show(data: Record<string, unknown>, first: boolean): Promise<void>;
  /** Nothing more will be shown. */
  end(): void;
}

interface DenoJupyter {
  broadcast(type: string, content: object): Promise<void>;
}

export function displayer(): Display {
  const deno = (globalThis as { Deno?: { jupyter?: DenoJupyter } }).Deno;
  // Outside a kernel the property exists and throws when it is used.
  if (deno !== undefined && Symbol.for('taskloom.cell') in globalThis) {
    try {
      if (deno.jupyter !== undefined) return notebookDisplay(deno.jupyter);
    } catch {
      // Not a kernel.
    }
  }
  return process.stderr.isTTY ? terminalDisplay() : plainDisplay();
}

function notebookDisplay(jupyter: DenoJupyter): Display {
  const transient = { display_id: randomUUID() };
  return {
    show: (data, first) =>
      jupyter.broadcast(first ? 'display_data' : 'update_display_data', {
        data,
        metadata: {},
        transient
      }),
    end: () => undefined
  };
}

/** Redraws in place. */
function terminalDisplay(): Display {
  let lines = 0;
  return {
    show: data => {
      const text = String(data['text/plain']);
      const up = lines > 0 ? `\u001b[${lines}A\u001b[0J` : '';
      lines = text.split('\n').length;
      process.stderr.write(`${up}${text}\n`);
      return Promise.resolve();
    },
    end: () => undefined
  };
}

/** Into a file or pipe: the last state only. */
function plainDisplay(): Display {
  let last = '';
  return {
    show: data => {
      last = String(data['text/plain']);
      return Promise.resolve();
    },
    end: () => {
      if (last !== '') process.stderr.write(`${last}\n`);
    }
  };
}
