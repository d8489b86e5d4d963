/** What the operating system says that a process uses. */
import { readFileSync } from 'node:fs';

export interface ProcessMemory {
  /** Resident bytes. */
  bytes: number;
  /** How many of them are in files in memory. */
  shared: number;
}

/** What is resident; pages that several processes have mapped count in each. null: not told. */
export function residentMemory(pid: number): ProcessMemory | null {
  return read(`/proc/${pid}/status`, 'VmRSS', 'RssShmem');
}

/**
 * What is resident, of pages that several processes have mapped its part: sums of processes that
 * share large inputs are right. Takes milliseconds for gigabytes. null: not told.
 */
export function proportionalMemory(pid: number): ProcessMemory | null {
  return read(`/proc/${pid}/smaps_rollup`, 'Pss', 'Pss_Shmem');
}

function read(path: string, all: string, shared: string): ProcessMemory | null {
  try {
    const text = readFileSync(path, 'latin1');
    const bytesOf = (name: string): number | undefined => {
      const kilobytes = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1];
      return kilobytes === undefined ? undefined : 1024 * Number(kilobytes);
    };
    const bytes = bytesOf(all);
    return bytes === undefined ? null : { bytes, shared: bytesOf(shared) ?? 0 };
  } catch {
    return null;
  }
}

/** Processor ms that a process has used since its start; 0 where nobody tells. */
export function processorMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name, in parentheses, may hold anything: what counts is behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return 10 * (Number(fields[11]) + Number(fields[12]));
  } catch {
    return 0;
  }
}
