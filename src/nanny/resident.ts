/**
 * Reads from the operating system what processes use. On Linux from /proc, in microseconds, so
 * that it can be done many times a second; elsewhere by one `ps` for all of them.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { proportionalMemory } from '../config/process-memory.ts';

const PAGE_BYTES = 4096;
const HAS_PROC = existsSync('/proc/self/statm');

/** ms between readings that the machine bears. */
export const READING_MS = HAS_PROC ? 150 : 1000;

/**
 * Calls back with the resident bytes of each process that could be read; `tree`: with those of all
 * processes below it, where the system tells. Trees beyond `limit` are read again, so that what
 * their processes share counts once.
 */
export function readResident(
  pids: readonly number[],
  limit: number,
  onRead: (pid: number, rss: number, tree: number) => void
): void {
  if (pids.length === 0) return;
  if (HAS_PROC) {
    for (const pid of pids) {
      const rss = residentOf(pid);
      if (rss === null) continue;
      let tree = rss + sumBelow(pid, residentOf);
      if (tree > limit) tree = (partOf(pid) ?? rss) + sumBelow(pid, partOf);
      onRead(pid, rss, tree);
    }
    return;
  }
  execFile('ps', ['-o', 'pid=,rss=', '-p', pids.join(',')], (error, stdout) => {
    if (error !== null) return;
    for (const line of stdout.trim().split('\n')) {
      const [pid, kib] = line.trim().split(/\s+/).map(Number);
      if (pid !== undefined && kib !== undefined) onRead(pid, kib * 1024, kib * 1024);
    }
  });
}

function residentOf(pid: number): number | null {
  try {
    // size resident shared text lib data dt, in pages
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
    return pages * pageBytes();
  } catch {
    return null;
  }
}

/** Its part of what several processes have mapped, and all else. */
function partOf(pid: number): number | null {
  return proportionalMemory(pid)?.bytes ?? residentOf(pid);
}

/** Of all processes that it has started, and those below them. */
function sumBelow(pid: number, of: (pid: number) => number | null): number {
  let sum = 0;
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const children = readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').trim();
      if (children === '') continue;
      for (const child of children.split(' ').map(Number)) {
        sum += (of(child) ?? 0) + sumBelow(child, of);
      }
    }
  } catch {
    // It has just ended, or the kernel keeps no such list.
  }
  return sum;
}

let measuredPage = 0;

/** Machines have pages of 4, 16 or 64 KiB: compare this process's own two accounts once. */
function pageBytes(): number {
  if (measuredPage !== 0) return measuredPage;
  const pages = Number(readFileSync('/proc/self/statm', 'latin1').split(' ')[1]);
  const ratio = process.memoryUsage.rss() / pages / PAGE_BYTES;
  measuredPage = PAGE_BYTES * 2 ** Math.max(0, Math.round(Math.log2(ratio)));
  return measuredPage;
}

/** How often this machine's kernel has killed a process for want of memory; 0 if unknown. */
export function kernelKills(): number {
  try {
    const match = /^oom_kill (\d+)/m.exec(readFileSync('/proc/vmstat', 'latin1'));
    return match === null ? 0 : Number(match[1]);
  } catch {
    return 0;
  }
}
