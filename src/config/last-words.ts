/**
 * What each executor thread of a worker runs, where it outlives the worker: a small file, one
 * record a thread, written when a task begins and read by the nanny when the process has died. So
 * only tasks that were executing are blamed; when none was, those that ended last may have left
 * the process dying, and count if their results died with it. A write takes about one microsecond
 * (the file lies in memory where there is a place for that).
 */
import { existsSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { ProcessFolder } from './folder.ts';
import { SHARED_MEMORY } from './host-mark.ts';

/** Two little-endian numbers: tid and run id. 0 = it has run nothing, negative = that has ended. */
const RECORD = 16;

/** Tasks, and their runs. */
export interface Executing {
  tids: number[];
  runIds: number[];
}

/** A thread's own record. */
export class LastWords {
  private readonly file: number;
  private readonly position: number;
  private readonly bytes = new Uint8Array(RECORD);
  private readonly view = new DataView(this.bytes.buffer);

  constructor(path: string, lane: number) {
    this.file = openSync(path, 'r+');
    this.position = lane * RECORD;
    this.write(0, 0);
  }

  /** The task begins. */
  begin(tid: number, runId: number): void {
    this.write(tid, runId);
  }

  /** The last that began has ended, and no other begins at once. */
  rest(): void {
    this.write(-Math.abs(this.view.getFloat64(0, true)), this.view.getFloat64(8, true));
  }

  private write(tid: number, runId: number): void {
    this.view.setFloat64(0, tid, true);
    this.view.setFloat64(8, runId, true);
    writeSync(this.file, this.bytes, 0, RECORD, this.position);
  }
}

/** The nanny's side: one file a worker. */
export class LastWordsFolder {
  private readonly folder = new ProcessFolder(
    'nanny',
    existsSync(SHARED_MEMORY) ? SHARED_MEMORY : tmpdir()
  );

  /** A fresh file, or '' when none can be made: then the scheduler has to guess. */
  make(name: string, threads: number): string {
    try {
      const path = this.folder.file(name);
      writeFileSync(path, new Uint8Array(threads * RECORD), { mode: 0o600 });
      return path;
    } catch {
      return '';
    }
  }

  /** Reads what a worker that has ended was executing, and removes the file; null if unknown. */
  take(path: string): Executing | null {
    if (path === '') return null;
    try {
      const bytes = readFileSync(path);
      rmSync(path);
      const executing: Executing = { tids: [], runIds: [] };
      const ended: Executing = { tids: [], runIds: [] };
      for (let at = 0; at + RECORD <= bytes.length; at += RECORD) {
        const tid = bytes.readDoubleLE(at);
        if (tid === 0) continue;
        const kind = tid > 0 ? executing : ended;
        kind.tids.push(Math.abs(tid));
        kind.runIds.push(bytes.readDoubleLE(at + 8));
      }
      return executing.tids.length > 0 ? executing : ended;
    } catch {
      return null;
    }
  }

  close(): void {
    this.folder.remove();
  }
}
