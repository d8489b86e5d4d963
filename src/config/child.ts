/**
 * The parent's side of our own child processes: starts `taskloom <role>`, gives it its setup,
 * passes orders, hears reports, keeps its last lines of output. Used by a nanny for its workers
 * and scheduler, and by a local cluster for its nanny; only `node:` modules, so that it runs in
 * Deno as well.
 *
 * Invariant: `onExit` is called exactly once, after the last line of output that could still be
 * read, also when the process could not be started at all.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import type { Readable } from 'node:stream';
import { LineRing } from './lines.ts';
import type { ProcessOrder, ProcessReport, ProcessSetup } from './process-messages.ts';
import { commandPath, nodePath } from './runtime.ts';

/** How a child ended. */
export interface ChildExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Why it could not be started, or null. */
  startError: string | null;
  /** The reason it gave itself (`finished` or `failed`), or null. */
  said: string | null;
}

export interface ChildOptions {
  setup: ProcessSetup;
  /** Read reports from standard output (a nanny) rather than from descriptor 3. */
  reportsOnStdout?: boolean;
  /** Own session: signals of the parent's terminal do not reach it. */
  detached?: boolean;
  env?: Record<string, string>;
  onReport(report: ProcessReport): void;
  onExit(exit: ChildExit): void;
  onLine?(line: string): void;
}

/** ms to wait for output that is still in the pipes of a process that has ended. */
const OUTPUT_GRACE_MS = 50;

export class Child {
  readonly output = new LineRing(2000);
  private readonly process: ChildProcess;
  private said: string | null = null;
  private readonly options: ChildOptions;

  constructor(options: ChildOptions) {
    this.options = options;
    const onStdout = options.reportsOnStdout === true;
    const stdio: StdioOptions = onStdout
      ? ['pipe', 'pipe', 'pipe']
      : ['pipe', 'pipe', 'pipe', 'pipe'];
    this.process = spawn(nodePath(), [commandPath(), options.setup.role, '--supervised'], {
      stdio,
      detached: options.detached === true,
      env: { ...process.env, ...options.env }
    });
    // A child that has ended cannot be written to; that it ended is heard below.
    this.process.stdin?.on('error', () => undefined);
    this.write(options.setup);
    if (onStdout) this.readReports(this.process.stdout);
    else {
      this.readOutput(this.process.stdout);
      this.readReports(this.process.stdio[3] as Readable | null);
    }
    this.readOutput(this.process.stderr);
    this.watchExit();
  }

  /** 0 when the process could not be started. */
  get pid(): number {
    return this.process.pid ?? 0;
  }

  order(order: ProcessOrder): void {
    this.write(order);
  }

  /** Sends a signal; false when the process is gone. */
  signal(signal: NodeJS.Signals): boolean {
    return this.process.kill(signal);
  }

  /** This child no longer keeps our own process running. */
  unref(): void {
    this.process.unref();
    for (const stream of this.process.stdio) (stream as { unref?(): void } | null)?.unref?.();
  }

  /** Undoes `unref`: somebody waits for an answer of the child. */
  ref(): void {
    this.process.ref();
    for (const stream of this.process.stdio) (stream as { ref?(): void } | null)?.ref?.();
  }

  private write(line: ProcessSetup | ProcessOrder): void {
    const stdin = this.process.stdin;
    if (stdin !== null && stdin.writable) stdin.write(`${JSON.stringify(line)}\n`);
  }

  private readOutput(stream: Readable | null): void {
    stream?.on('error', () => undefined);
    stream?.setEncoding('utf8').on('data', (text: string) => {
      for (const line of this.output.add(text)) this.options.onLine?.(line);
    });
  }

  private readReports(stream: Readable | null): void {
    const lines = new LineRing(1);
    stream?.on('error', () => undefined);
    stream?.setEncoding('utf8').on('data', (text: string) => {
      for (const line of lines.add(text)) {
        const report = parseReport(line);
        if (report === null) {
          for (const text of this.output.add(`${line}\n`)) this.options.onLine?.(text);
          continue;
        }
        if (report.op === 'finished') this.said = report.reason;
        if (report.op === 'failed') this.said = report.message;
        this.options.onReport(report);
      }
    });
  }

  private watchExit(): void {
    let told = false;
    const tell = (
      code: number | null,
      signal: NodeJS.Signals | null,
      startError: string | null
    ): void => {
      if (told) return;
      told = true;
      this.options.onExit({ code, signal, startError, said: this.said });
    };
    this.process.once('error', error => {
      if (this.process.pid === undefined) tell(null, null, error.message);
    });
    this.process.once('exit', (code, signal) => {
      // A grandchild may hold the pipes open for long: do not wait for `close` alone.
      setTimeout(() => tell(code, signal, null), OUTPUT_GRACE_MS);
    });
    this.process.once('close', (code, signal) => tell(code, signal, null));
  }
}

/** A report, or null when the line is ordinary output. */
function parseReport(line: string): ProcessReport | null {
  if (!line.startsWith('{"op":')) return null;
  try {
    return JSON.parse(line) as ProcessReport;
  } catch {
    return null;
  }
}
