/** What the scheduler may ask a nanny over its link, by method name. */
import { TaskloomError } from '../base/errors.ts';
import type { ClusterLogs } from '../protocol/launcher.ts';

/** The nanny that carries it out. */
interface Asked {
  scale(workers: number, close?: readonly string[]): object;
  restartWorkers(names: readonly string[] | null): void;
  closeWorkers(names: readonly string[], reason: string): void;
  logs(): ClusterLogs;
  close(reason: string): unknown;
}

/** `scale`, `restart-workers`, `close-workers`, `logs`, `close`. */
export function requestHandlers(nanny: Asked): Map<string, (params: never) => unknown> {
  return new Map<string, (params: never) => unknown>([
    ['scale', (params: unknown) => scale(nanny, params)],
    [
      'restart-workers',
      (params: { names?: string[] } | null) => {
        nanny.restartWorkers(params?.names ?? null);
        return {};
      }
    ],
    [
      'close-workers',
      ({ names, reason }: { names: string[]; reason: string }) => {
        nanny.closeWorkers(names, reason);
        return {};
      }
    ],
    ['logs', () => nanny.logs()],
    [
      'close',
      (params: { reason?: string } | null) => {
        void nanny.close(params?.reason ?? 'closed');
        return {};
      }
    ]
  ]);
}

function scale(nanny: Asked, params: unknown): object {
  const { workers, close } = (params ?? {}) as { workers?: unknown; close?: unknown };
  if (typeof workers !== 'number' || !Number.isInteger(workers) || workers < 0) {
    throw new TaskloomError('CONFIG', `A nanny cannot have ${String(workers)} workers.`);
  }
  return nanny.scale(workers, Array.isArray(close) ? (close as string[]) : []);
}
