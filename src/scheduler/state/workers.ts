/** What the scheduler knows of a worker. Written by the state room only. */
import type { Share } from '../../base/fair.ts';
import type { WorkerMetrics } from '../../protocol/messages.ts';
import type { Task } from './tasks.ts';

export interface WorkerFacts {
  name: string;
  address: string;
  host: string;
  pid: number;
  nthreads: number;
  memoryLimit: number;
  resources: Record<string, number>;
  nanny: string;
}

export type WorkerStatus = 'running' | 'paused' | 'closing';

export class WorkerRecord {
  /** Its number, never used again. */
  readonly id: number;
  readonly facts: WorkerFacts;
  readonly startedAt: number;
  status: WorkerStatus = 'running';
  readonly hasWhat = new Set<Task>();
  readonly processing = new Set<Task>();
  longRunning = 0;
  /** Tasks that need a slot, by the client they are done for. */
  readonly load = new Map<Share, number>();
  /** ms of work it is expected to have. */
  occupancy = 0;
  /** Bytes of the values it holds. */
  nbytes = 0;
  /** Functions it has been sent. */
  readonly functions = new Set<number>();
  metrics: WorkerMetrics | null = null;
  /** tids it said to be executing in its last heartbeat. */
  executing: number[] = [];
  lastSeen: number;

  constructor(id: number, facts: WorkerFacts, now: number) {
    this.id = id;
    this.facts = facts;
    this.startedAt = now;
    this.lastSeen = now;
  }
}
