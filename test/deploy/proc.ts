/**
 * Looks at real processes from outside: which run, who started them, waiting for a condition. No
 * test runner is needed, so the chaos runs use it too.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** Waits until `look` gives something other than false, null or undefined, and returns that. */
export async function until<Value>(
  what: string,
  look: () => Value | Promise<Value>,
  limitMs = 20_000
): Promise<Exclude<Value, false | null | undefined>> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await look();
    if (value !== false && value !== null && value !== undefined) {
      return value as Exclude<Value, false | null | undefined>;
    }
    if (Date.now() > end) throw new Error(`After ${limitMs / 1000} s still not: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 25));
  }
}

export interface SeenProcess {
  pid: number;
  parent: number;
  /** Its arguments, one string. */
  command: string;
}

/** A process that runs; a zombie has ended. */
export function lives(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** All processes of the machine, from /proc. */
export function processes(): SeenProcess[] {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const status = readFileSync(`/proc/${name}/status`, 'utf8');
      if (/^State:\s+Z/m.test(status)) return [];
      const parent = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      return [{ pid: Number(name), parent, command }];
    } catch {
      return [];
    }
  });
}

/** The nanny, scheduler and workers below a process, by role. */
export interface Family {
  nanny: number;
  scheduler: number;
  workers: number[];
  all: number[];
}

/** The one cluster that `owner` has started. */
export function familyOf(owner: number): Family {
  const all = processes();
  const child = (parent: number, role: string): number[] =>
    all
      .filter(seen => seen.parent === parent && seen.command.includes(`${role} --supervised`))
      .map(seen => seen.pid);
  const [nanny] = child(owner, 'nanny');
  if (nanny === undefined) throw new Error(`process ${owner} has no nanny`);
  const [scheduler] = child(nanny, 'scheduler');
  if (scheduler === undefined) throw new Error(`nanny ${nanny} has no scheduler`);
  const workers = child(nanny, 'worker');
  return { nanny, scheduler, workers, all: [nanny, scheduler, ...workers] };
}
