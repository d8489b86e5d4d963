/**
 * Whether two processes can hand files to each other by their paths: they can when they run on one
 * boot of one machine, as one user, and see the same files. Both say a mark of all that; equal marks
 * mean yes. python/taskloom/_files.py makes the same.
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';

/** The folder in memory through which files are handed over. */
export const SHARED_MEMORY = '/dev/shm';
/** Namespaces that make one path two files, or one number two users or processes. */
const NAMESPACES = ['mnt', 'pid', 'user'];

/** This process's mark; '' where the system cannot say, and no file is handed over. */
export function hostMark(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const spaces = NAMESPACES.map(name => readlinkSync(`/proc/self/ns/${name}`));
    return [boot, process.getuid?.() ?? -1, statSync(SHARED_MEMORY).dev, ...spaces].join(' ');
  } catch {
    return '';
  }
}
