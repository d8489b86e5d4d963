/**
 * What nannies report of workers that ended. A worker's link breaks before or after its nanny has
 * seen it end: the report is awaited for a moment, so that errors can say why the worker is gone.
 */
import type { RegisterWorker, WorkerExited } from '../protocol/messages.ts';

/** How long the nanny's report of a vanished worker is awaited. */
const EXIT_REPORT_MS = 1000;
/** Reports kept for links that have not broken yet. */
const KEPT = 100;

/** Reports by process, and who waits for one. */
export class ExitReports {
  private readonly early = new Map<string, WorkerExited>();
  private readonly awaited = new Map<string, (exit: WorkerExited | null) => void>();

  /** What the worker's nanny says of its end; null when it has none, or says nothing in time. */
  of(register: RegisterWorker, hasNanny: boolean): Promise<WorkerExited | null> {
    const name = processOf(register);
    const early = this.early.get(name);
    this.early.delete(name);
    if (early !== undefined || !hasNanny) return Promise.resolve(early ?? null);
    return new Promise(resolve => {
      const timer = setTimeout(() => settle(null), EXIT_REPORT_MS);
      const settle = (exit: WorkerExited | null): void => {
        clearTimeout(timer);
        this.awaited.delete(name);
        resolve(exit);
      };
      this.awaited.set(name, settle);
    });
  }

  /** A nanny reports. */
  heard(exit: WorkerExited): void {
    const name = processOf(exit);
    const settle = this.awaited.get(name);
    if (settle !== undefined) return settle(exit);
    this.early.set(name, exit);
    if (this.early.size > KEPT) this.early.delete(this.early.keys().next().value as string);
  }

  /** Its process has connected anew: no report will come. */
  giveUp(register: RegisterWorker): void {
    this.awaited.get(processOf(register))?.(null);
  }
}

function processOf({ name, pid }: { name: string; pid: number }): string {
  return `${name}:${pid}`;
}
