/**
 * Listens at an address of this machine without asking the name service or Node's `cluster` about
 * it, as `listen` does: that loads a dozen modules and compiles a pattern of all IPv6 addresses,
 * seven milliseconds of every process's start.
 */
import type { Server } from 'node:net';

/** A file, or a port of a host. */
export type ListenAddress = { path: string } | { host: string; port: number };

/** Callers that may wait to be connected to. */
const BACKLOG = 2048;
const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;

/** What Node's own `listen` calls in the end; it keeps the name for those who wrap it. */
type Listen = (address: string, port: number, family: number, backlog: number) => void;

/** Resolves when the server listens; rejects with Node's error. */
export async function listenAt(server: Server, at: ListenAddress): Promise<void> {
  const direct = (server as Server & { _listen2?: Listen })._listen2;
  await new Promise<void>((resolve, reject) => {
    // For good: once it listens, a connection that could not be taken in is no reason to end.
    server.on('error', reject);
    server.once('listening', resolve);
    if (direct === undefined) server.listen({ ...at, backlog: BACKLOG });
    else if ('path' in at) direct.call(server, at.path, -1, -1, BACKLOG);
    else if (IPV4.test(at.host)) direct.call(server, at.host, at.port, 4, BACKLOG);
    else server.listen({ ...at, backlog: BACKLOG });
  });
}
