/** How a worker is started; every default that is not said here is its caller's. */
import type { LifetimeShape } from '../config/lifetime.ts';
import type { MemorySettings } from './state/memory-events.ts';

/** Of `Worker.start`. */
export interface WorkerOptions {
  /** `http://host:port`; while a promise of it is out, the worker gets ready. */
  schedulerAddress: string | Promise<string>;
  token: string;
  name: string;
  nthreads: number;
  /** Bytes; 0 = no limit. */
  memoryLimit: number;
  /** When values go to disk and the worker pauses; parts of the limit, 0 = off. */
  memory?: Partial<Omit<MemorySettings, 'memoryLimit'>> | undefined;
  /** Where values go that do not fit memory. Default: a temporary folder of the system. */
  localDirectory?: string | undefined;
  /** When it leaves the cluster by itself; absent = never. */
  lifetime?: LifetimeShape | undefined;
  /** Where it listens. Default 127.0.0.1. */
  host?: string | undefined;
  /** Default 0: a free one. */
  port?: number | undefined;
  resources?: Readonly<Record<string, number>> | undefined;
  /** Id of the nanny that watches it, or ''. */
  nanny?: string | undefined;
  /** File in which threads note what they run, for its nanny; '' = nowhere. */
  lastWords?: string | undefined;
  /** The interpreter that runs Python tasks; absent: TASKLOOM_PYTHON, `none`: no Python. */
  python?: string | undefined;
  /** Python tasks run as threads of one process, instead of in a process each. */
  pythonThreads?: boolean | undefined;
  /** Allow an address beyond loopback without encryption. */
  insecure?: boolean | undefined;
  /** Folder from which tasks' imports are resolved. Default: the current one. */
  root?: string | undefined;
  /** ms for which a lost scheduler is dialled again; 0 = not at all. Default 60,000. */
  reconnectMs?: number | undefined;
  onLog?: ((line: string) => void) | undefined;
}
