/**
 * The scheduler's HTTP API as deploy code, the launcher and the command line use it. Every call
 * presents the cluster's token and ends within its time limit; what goes wrong names the cluster.
 */
import {
  AuthenticationError,
  CommClosedError,
  TaskloomError,
  TimeoutError
} from '../base/errors.ts';
import type { ClusterInfo, ClusterLogs } from '../protocol/launcher.ts';

/** What a scheduler says of its cluster (`GET /api/info`). */
export type ClusterFacts = Omit<ClusterInfo, 'state' | 'reason' | 'can'> & {
  /** Why workers are missing; a sentence, or null. */
  reason: string | null;
  /** A nanny is there that can start and end workers. */
  canScale: boolean;
};

/** Where a scheduler is and how to be let in. */
export interface SchedulerAccess {
  address: string;
  token: string;
}

/** ms for a dump: a large cluster takes long to write itself down. */
const DUMP_LIMIT_MS = 300_000;

export function fetchInfo(access: SchedulerAccess, timeoutMs = 5000): Promise<ClusterFacts> {
  return call<ClusterFacts>(access, 'GET', '/api/info', undefined, timeoutMs);
}

export async function requestScale(access: SchedulerAccess, workers: number): Promise<void> {
  await call(access, 'POST', '/api/scale', { workers }, 30_000);
}

/** Bounds of a cluster that has as many workers as its work asks for. */
export interface AdaptOptions {
  /** Never fewer. Default 0. */
  minimum?: number;
  /** Never more. Default null: no bound. */
  maximum?: number | null;
}

/** null: it adapts no more. */
export async function requestAdapt(
  access: SchedulerAccess,
  options: AdaptOptions | null
): Promise<void> {
  await call(access, 'POST', '/api/adapt', options ?? { off: true }, 30_000);
}

export async function requestRestart(access: SchedulerAccess): Promise<void> {
  await call(access, 'POST', '/api/restart-workers', {}, 30_000);
}

export async function requestClose(access: SchedulerAccess, reason: string): Promise<void> {
  await call(access, 'POST', '/api/close', { reason }, 10_000);
}

export function fetchLogs(access: SchedulerAccess): Promise<ClusterLogs> {
  return call<ClusterLogs>(access, 'GET', '/api/logs', undefined, 10_000);
}

/** The cluster's state as the bytes of a dump file. */
export async function fetchDump({ address, token }: SchedulerAccess): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(`${address}/api/dump`, {
      headers: { Authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(DUMP_LIMIT_MS)
    });
    if (response.status === 401) throw new AuthenticationError(address);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    if (cause instanceof AuthenticationError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommClosedError(`Cannot get a dump from ${address}: ${why}.`, { cause });
  }
  throw new TaskloomError('DUMP', `${address} gives no dump (status ${response.status}).`);
}

async function call<Result>(
  { address, token }: SchedulerAccess,
  method: string,
  path: string,
  body: object | undefined,
  timeoutMs: number
): Promise<Result> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(address + path, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs)
    });
    text = await response.text();
  } catch (cause) {
    throw unreachable(address, timeoutMs, cause);
  }
  if (response.status === 401) throw new AuthenticationError(address);
  const value = parse(text);
  if (response.ok) return value as Result;
  const said = value as { code?: string; message?: string } | null;
  throw new TaskloomError(
    said?.code ?? 'CLUSTER',
    said?.message ?? `${address} answered ${method} ${path} with status ${response.status}.`
  );
}

function parse(text: string): unknown {
  try {
    return text === '' ? null : (JSON.parse(text) as unknown);
  } catch {
    return null;
  }
}

function unreachable(address: string, timeoutMs: number, cause: unknown): TaskloomError {
  if ((cause as { name?: string }).name === 'TimeoutError') {
    return new TimeoutError(`The scheduler at ${address} did not answer in ${timeoutMs / 1000} s.`);
  }
  // fetch hides the system's own words one level down.
  const inner = (cause as { cause?: { message?: string } }).cause?.message;
  return new CommClosedError(
    `The scheduler at ${address} cannot be reached: ${inner ?? String(cause)}.`,
    { cause }
  );
}
