/**
 * Ends a process with the one it serves. A Jupyter server that is killed outright tells nobody and
 * leaves its children to process 1: they must look themselves.
 */

const LOOK_EVERY_MS = 500;

/** Calls back once when `pid` is gone, or when this process has got another parent. */
export function watchParent(pid: number | null, onGone: () => void): () => void {
  const first = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === first && (pid === null || lives(pid))) return;
    clearInterval(timer);
    onGone();
  }, LOOK_EVERY_MS);
  return () => clearInterval(timer);
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
