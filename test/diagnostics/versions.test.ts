/** Versions of the members of a cluster: told, compared, and refused when they cannot go together. */
import { afterEach, describe, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import type { CloseReason } from '../../src/comm/connection.ts';
import { CommServer } from '../../src/comm/server.ts';
import { dial } from '../../src/comm/link.ts';
import { ownVersions, packageVersion } from '../../src/config/runtime.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { CLOSE, PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import type { NannyToScheduler, SchedulerToNanny } from '../../src/protocol/messages.ts';
import { mismatch, versionTable } from '../../src/protocol/versions.ts';
import type { Versions } from '../../src/protocol/versions.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { ownRuntimeFolder } from '../deploy/processes.ts';

ownRuntimeFolder();

const token = 'token-of-the-test';
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function startScheduler(): Promise<Scheduler> {
  const madeBy = { kind: 'script' as const, label: 'test' };
  const id = { id: 'versions', name: 'versions', kind: 'manual', madeBy };
  const scheduler = await Scheduler.start({ ...id, token, connectionFile: false });
  closers.push(() => scheduler.close('the test is over'));
  return scheduler;
}

/** A nanny of other versions, as far as it says; resolves with how its link closed. */
async function register(address: string, versions: Partial<Versions>): Promise<CloseReason[]> {
  const closes: CloseReason[] = [];
  const link = await dial<NannyToScheduler, SchedulerToNanny>(
    { address, path: '/nanny', token },
    { onMessages: () => undefined, onClose: reason => closes.push(reason) }
  );
  const whole = { ...ownVersions(), ...versions };
  link.send({
    op: 'register-nanny',
    protocol: PROTOCOL_VERSION,
    nanny: 'nanny-other',
    host: 'elsewhere',
    pid: 1,
    version: whole.taskloom,
    versions: whole,
    canScale: false
  });
  return closes;
}

/** Warnings of this process while `act` runs. */
async function warnings(act: () => Promise<void>): Promise<string[]> {
  const heard: string[] = [];
  const hear = (warning: Error): void => {
    if (warning.name === 'TaskloomVersionWarning') heard.push(warning.message);
  };
  process.on('warning', hear);
  await act();
  await new Promise(resolve => setTimeout(resolve, 50));
  process.off('warning', hear);
  return heard;
}

describe('versions', () => {
  it('of all members are told; equal ones pass the check without a word', async () => {
    const cluster = await LocalCluster.create({ workers: 1, threadsPerWorker: 1, memoryLimit: 0 });
    closers.push(() => cluster.close());
    const heard = await warnings(async () => {
      await using client = await Client.connect(cluster, { name: 'me' });
      const members = await client.getVersions({ check: true });
      expect(members.map(({ who }) => who.replace(/nanny-\w+/, 'nanny')).sort()).toEqual([
        'client me',
        'nanny',
        'scheduler',
        'worker-0'
      ]);
      for (const { versions } of members) expect(versions).toEqual(ownVersions());
    });
    expect(heard).toEqual([]);
  });

  it('that differ make one readable warning at connect, and fail the check', async () => {
    const scheduler = await startScheduler();
    await register(scheduler.address, { taskloom: '0.0.9', node: '18.0.0' });
    await expect.poll(() => scheduler.versions.list().length).toBe(2);
    const heard = await warnings(async () => {
      const client = await Client.connect(scheduler.address, { token, name: 'me' });
      await expect(client.getVersions({ check: true })).rejects.toMatchObject({
        code: 'VERSION_MISMATCH',
        message: expect.stringMatching(/differ in taskloom and node/) as string
      });
      expect(await client.getVersions()).toHaveLength(3);
      await client.close();
    });
    expect(heard).toHaveLength(1);
    const [sentence, head, ...rows] = (heard[0] as string).split('\n');
    expect(sentence).toMatch(/differ in taskloom and node: .* Install one version/);
    expect(head).toMatch(/^ +taskloom +protocol +node +platform$/);
    expect(rows.map(row => row.split(/ {2,}/).slice(0, 2))).toEqual([
      ['scheduler, client me', packageVersion()],
      ['nanny-other', '0.0.9']
    ]);
    expect(scheduler.log.tail().join('\n')).toContain('differ in taskloom and node');
  });

  it('of another first number are refused, and the refused one can say why', async () => {
    const scheduler = await startScheduler();
    const closes = await register(scheduler.address, { taskloom: '99.1.2' });
    await expect.poll(() => closes).toHaveLength(1);
    const reason = `you are taskloom 99.1.2, this scheduler is ${packageVersion()}: install one version on both sides`;
    expect(closes[0]).toEqual({ code: CLOSE.badVersion, reason });
    expect(scheduler.versions.list()).toHaveLength(1);
    // A client that hears those words.
    const server = new CommServer({ token });
    closers.push(() => server.close());
    server.link('/client', wire =>
      wire.listen({ onFrame: () => wire.close(CLOSE.badVersion, reason), onClose: () => undefined })
    );
    const address = await server.listen();
    await expect(Client.connect(address, { token })).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
      message: `The scheduler at ${address} refuses this process: ${reason}.`
    });
  });

  it('in a table: equal ones share a row, unknown ones are marked', () => {
    const versions = { taskloom: '1.0.0', protocol: 1, node: '24.1.0', platform: 'linux x64' };
    const workers = Array.from({ length: 6 }, (_, i) => ({ who: `w${i}`, versions }));
    const members = [...workers, { who: 'old', versions: null }];
    expect(versionTable(members).split('\n').slice(1)).toEqual([
      'w0, w1, w2 and 3 more  1.0.0     1         24.1.0  linux x64',
      'old                    ?         ?         ?       ?'
    ]);
    expect(mismatch(members)).toBeNull();
    const other = { ...versions, node: '24.9.9', platform: 'darwin arm64' };
    expect(mismatch([...members, { who: 'mac', versions: other }])).toBeNull();
  });

  it('of packages that a user imports count where Python runs, and may not be missing', () => {
    const plain = { taskloom: '1.0.0', protocol: 1, node: '', platform: 'linux x64' };
    const python = { python: '3.11.7', dask: '2026.1.0' };
    const client = { ...plain, packages: { ...python, scipy: '1.2', one: '1.0' } };
    const members = [
      { who: 'scheduler', versions: plain },
      { who: 'client me', versions: { ...client, uses: ['scipy', 'one'] } },
      { who: 'w0', versions: { ...plain, packages: { ...python, one: '1.0', other: '7' } } }
    ];
    const [sentence, head, ...rows] = (mismatch(members) ?? '').split('\n');
    expect(sentence).toMatch(/differ in scipy:/);
    expect(head?.split(/ +/).slice(-3)).toEqual(['python', 'dask', 'scipy']);
    expect(rows.map(row => row.split(/ {2,}/).at(-1))).toEqual(['-', '1.2', '-']);
    expect(mismatch([...members.slice(0, 1), { who: 'c', versions: client }])).toBeNull();
  });
});
