/**
 * The child's side of a process that one of ours started: reads its setup and orders from standard
 * input, writes reports, and learns that its parent is gone when the input ends.
 */
import { writeSync } from 'node:fs';
import { ConfigError } from '../base/errors.ts';
import type { ProcessOrder, ProcessReport, ProcessSetup } from './process-messages.ts';

export interface Supervisor<Setup extends ProcessSetup> {
  readonly setup: Setup;
  report(report: ProcessReport): void;
  /** Orders that came before this call are handed over at once. */
  onOrder(handler: (order: ProcessOrder) => void): void;
  /** Called once, when the parent has closed our input or is gone. */
  onParentGone(handler: () => void): void;
}

/** Descriptor for reports below a nanny; a nanny itself reports on standard output. */
const REPORT_FD: Record<ProcessSetup['role'], number> = { nanny: 1, scheduler: 3, worker: 3 };

/** Resolves when the setup has been read. */
export function readSupervisor<Role extends ProcessSetup['role']>(
  role: Role
): Promise<Supervisor<Extract<ProcessSetup, { role: Role }>>> {
  type Setup = Extract<ProcessSetup, { role: Role }>;
  return new Promise((resolve, reject) => {
    let setup: Setup | null = null;
    let pending = '';
    let gone = false;
    const early: ProcessOrder[] = [];
    let handler: ((order: ProcessOrder) => void) | null = null;
    let onGone: (() => void) | null = null;

    const supervisor = (own: Setup): Supervisor<Setup> => ({
      setup: own,
      report: report => writeReport(REPORT_FD[role], report),
      onOrder(next) {
        handler = next;
        for (const order of early.splice(0)) next(order);
      },
      onParentGone(next) {
        onGone = next;
        if (gone) next();
      }
    });
    const end = (): void => {
      if (gone) return;
      gone = true;
      if (setup === null) reject(new ConfigError('Standard input ended before the setup came.'));
      onGone?.();
    };
    process.stdin.setEncoding('utf8');
    process.stdin.on('data', (text: string) => {
      const lines = (pending + text).split('\n');
      pending = lines.pop() ?? '';
      for (const line of lines) {
        if (setup === null) {
          setup = parseSetup<Setup>(line, role);
          if (setup === null)
            reject(new ConfigError(`Standard input holds no setup of a ${role}.`));
          else resolve(supervisor(setup));
        } else {
          const order = JSON.parse(line) as ProcessOrder;
          if (handler === null) early.push(order);
          else handler(order);
        }
      }
    });
    process.stdin.on('end', end);
    process.stdin.on('error', end);
  });
}

function parseSetup<Setup extends ProcessSetup>(line: string, role: string): Setup | null {
  try {
    const value = JSON.parse(line) as Setup;
    return value.role === role ? value : null;
  } catch {
    return null;
  }
}

function writeReport(fd: number, report: ProcessReport): void {
  try {
    writeSync(fd, `${JSON.stringify(report)}\n`);
  } catch {
    // Nobody reads any more; the end of our input says so too.
  }
}
