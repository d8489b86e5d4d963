/** The way round TCP within a machine: taken when it is safe, and only then. */
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { connectOnThisHost } from '../../src/comm/same-host.ts';
import { CommServer, createToken } from '../../src/comm/server.ts';
import { accept, dial } from '../../src/comm/link.ts';

let runtime = '';
let folder = '';
const servers: CommServer[] = [];

beforeEach(() => {
  runtime = mkdtempSync(join(tmpdir(), 'taskloom-test-'));
  folder = join(runtime, 'taskloom');
  vi.stubEnv('XDG_RUNTIME_DIR', runtime);
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  vi.unstubAllEnvs();
  rmSync(runtime, { recursive: true, force: true });
});

/** A server with one link, and by what way its peers came. */
async function listening(
  options: { port?: number; sameHost?: boolean; token?: string } = {}
): Promise<{ server: CommServer; address: string; token: string; peers: string[] }> {
  const token = options.token ?? createToken();
  const server = new CommServer({ sameHost: true, ...options, token });
  servers.push(server);
  const peers: string[] = [];
  server.link('/link', (wire, peer) => {
    peers.push(peer);
    accept(wire, peer, { onMessages: () => undefined, onClose: () => undefined });
  });
  return { server, address: await server.listen(), token, peers };
}

async function link(address: string, token: string): Promise<void> {
  const handlers = { onMessages: () => undefined, onClose: () => undefined };
  await dial({ address, path: '/link', token }, handlers);
}

describe('the socket file of a scheduler', () => {
  it('carries links, is gone when the server is, and links of others use the port', async () => {
    const { server, address, token, peers } = await listening();
    expect(readdirSync(folder)).toHaveLength(1);
    await link(address, token);
    await link(address.replace('127.0.0.1', 'localhost'), token);
    expect(peers[0]).toBe('this host');
    expect(peers[1]).toMatch(/:\d+$/);
    await server.close();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('asks for the token, too', async () => {
    const { address, peers } = await listening();
    await expect(link(address, createToken())).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(peers).toEqual([]);
  });

  it('is not used in a folder that others may enter', async () => {
    const { address, token, peers } = await listening();
    chmodSync(folder, 0o755);
    await link(address, token);
    expect(peers[0]).toMatch(/:\d+$/);
    const other = await listening();
    expect(readdirSync(folder)).toHaveLength(1);
    await link(other.address, other.token);
    expect(other.peers[0]).toMatch(/:\d+$/);
  });

  it('does not serve another address of the machine', async () => {
    const { address } = await listening();
    const { port } = new URL(address);
    await expect(
      connectOnThisHost(`http://127.0.0.2:${port}`, () => undefined)
    ).resolves.toBeNull();
    const socket = await connectOnThisHost(`http://127.0.0.1:${port}`, () => undefined);
    expect(socket).not.toBeNull();
    socket?.destroy();
  });

  it('left behind by one that was killed: links use the port, the next server takes it over', async () => {
    const first = await listening();
    const port = Number(new URL(first.address).port);
    const [name = ''] = readdirSync(folder);
    await first.server.close();
    // A file at which nobody listens is all that is left of one.
    const path = join(folder, name);
    const stale = join(folder, name.replace(/\d+$/, '1'));
    writeFileSync(stale, '');
    writeFileSync(path, '');
    const plain = await listening({ port, sameHost: false });
    await link(plain.address, plain.token);
    expect(plain.peers[0]).toMatch(/:\d+$/);
    await plain.server.close();
    const next = await listening({ port });
    await link(next.address, next.token);
    expect(next.peers).toEqual(['this host']);
    await expect.poll(() => readdirSync(folder), { timeout: 10_000 }).toEqual([name]);
  });

  it('does without where the path is too long for a socket', async () => {
    vi.stubEnv('XDG_RUNTIME_DIR', join(runtime, 'x'.repeat(90)));
    const { address, token, peers } = await listening();
    await link(address, token);
    expect(peers[0]).toMatch(/:\d+$/);
  });
});
