/**
 * The processes of a chaos run: a local cluster (nanny, scheduler, workers) and further hosts, each
 * a `taskloom worker` with a nanny of its own, in a network namespace where the machine allows. A
 * host that ends is started again, as a batch system would.
 *
 * Remembers when workers went, because that is what explains some errors.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandPath, nodePath } from '../../src/config/runtime.ts';
import { LocalCluster } from '../../src/deploy/local.ts';
import { lives, processes, until } from '../deploy/proc.ts';
import type { SeenProcess } from '../deploy/proc.ts';
import { SmallDisk } from './disk.ts';
import { Network } from './network.ts';
import type { Wire } from './network.ts';

export interface SettingOptions {
  /** Workers of the local cluster, and hosts beside it. */
  workers: number;
  hosts: number;
  /** MiB of a worker. */
  memory: number;
  /** MB of the disk that workers spill to. */
  disk: number;
  network: boolean;
  /** Python tasks, too, where the checkout has an interpreter. */
  python: boolean;
}

/** A machine beside the cluster's own. */
export interface Host {
  name: string;
  wire: Wire | null;
  child: ChildProcess | null;
}

const WATCH_MS = 100;
/** A worker that has said goodbye ends within this. */
const LOOK_MS = 3000;

export class Setting {
  readonly options: SettingOptions;
  readonly folder = mkdtempSync(join(tmpdir(), 'taskloom-chaos-'));
  readonly marks = join(this.folder, 'marks');
  readonly hosts: Host[] = [];
  network: Network | null = null;
  disk: SmallDisk | null = null;
  /** What is not tried on this machine, and why. */
  readonly skipped: string[] = [];
  /** Times at which workers went. */
  readonly losses: number[] = [];
  /** Hosts whose network has a fault. */
  readonly faulty = new Set<Wire>();
  /** When the scheduler was killed. */
  readonly kills: number[] = [];
  /** When Python processes of executors were killed from outside. */
  readonly executorKills: number[] = [];
  /** When tasks were submitted that take all the memory there is. */
  readonly hogs: number[] = [];
  /** The interpreter of Python tasks, or null. */
  readonly python: string | null;
  /** Stopped processes. */
  readonly stopped = new Set<number>();
  private local: LocalCluster | null = null;
  private known = new Set<number>();
  private watcher: NodeJS.Timeout | null = null;
  private ending = false;

  constructor(options: SettingOptions) {
    this.options = options;
    mkdirSync(this.marks);
    const runtime = join(this.folder, 'runtime');
    mkdirSync(runtime);
    process.env['TASKLOOM_RUNTIME_DIR'] = runtime;
    this.python = pythonOf(options.python);
    // The cluster's workers and the hosts take it from here.
    process.env['TASKLOOM_PYTHON'] = this.python ?? 'none';
    if (this.python === null) this.skipped.push('Python tasks: there is no .venv/bin/python');
  }

  get cluster(): LocalCluster {
    if (this.local === null) throw new Error('the cluster has not been started');
    return this.local;
  }

  async start(): Promise<void> {
    const { workers, hosts, memory, disk, network } = this.options;
    const net = network ? Network.create(hosts) : 'networks were not asked for';
    if (net instanceof Network) this.network = net;
    else this.skipped.push(net);
    const small = SmallDisk.create(join(this.folder, 'spill'), disk);
    if (small instanceof SmallDisk) this.disk = small;
    else this.skipped.push(small);
    this.local = await LocalCluster.create({
      workers,
      threadsPerWorker: 2,
      memoryLimit: memory * 2 ** 20,
      name: 'chaos',
      onLog: line => this.keepLog('cluster', line),
      ...(this.disk === null ? {} : { localDirectory: this.disk.folder }),
      ...(this.network === null ? {} : { host: this.network.address, insecure: true })
    });
    for (let i = 0; i < hosts; i++) {
      const host = { name: `host${i}`, wire: this.network?.wires[i] ?? null, child: null };
      this.hosts.push(host);
      this.startHost(host);
    }
    this.watcher = setInterval(() => this.watch(), WATCH_MS);
    await this.cluster.waitForWorkers(workers + hosts, { timeoutMs: 60_000 });
  }

  private startHost(host: Host): void {
    const { address, token } = this.cluster;
    const { wire } = host;
    const command = [nodePath(), commandPath(), 'worker', address, '--workers', '1'];
    command.push('--threads', '1', '--memory-limit', `${this.options.memory} MiB`);
    if (this.disk !== null) command.push('--local-directory', this.disk.folder);
    if (wire !== null) command.push('--host', wire.address, '--insecure');
    if (wire !== null) command.unshift('ip', 'netns', 'exec', wire.namespace);
    const [file = '', ...args] = command;
    const child = spawn(file, args, {
      env: { ...process.env, TASKLOOM_TOKEN: token },
      stdio: ['ignore', 'pipe', 'pipe']
    });
    host.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => this.keepLog(host.name, text));
    }
    child.once('exit', (code, signal) => {
      this.keepLog(host.name, `(ended: ${signal ?? code})`);
      if (this.ending) return;
      setTimeout(() => this.ending || this.startHost(host), 500);
    });
  }

  /** Ends hosts whose nanny has given its worker up: they are started anew. */
  restartIdleHosts(): void {
    const parents = new Set(this.descendants().map(seen => seen.parent));
    for (const { child } of this.hosts) {
      if (child !== null && !parents.has(child.pid ?? 0)) child.kill('SIGTERM');
    }
  }

  /** Keeps what a process said, with its name. */
  keepLog(source: string, text: string): void {
    const lines = text.trimEnd().split('\n');
    const time = new Date().toISOString();
    const file = join(this.folder, 'processes.log');
    appendFileSync(file, lines.map(line => `${time} ${source}: ${line}\n`).join(''));
  }

  /** What the processes said, all of it. */
  readLog(): string {
    return readFileSync(join(this.folder, 'processes.log'), 'utf8');
  }

  // ---------------------------------------------------------------- who runs

  /** Ours and theirs below. */
  descendants(): SeenProcess[] {
    const all = processes();
    const found = new Set([process.pid]);
    const list: SeenProcess[] = [];
    for (let grew = true; grew;) {
      grew = false;
      for (const seen of all) {
        if (found.has(seen.pid) || !found.has(seen.parent)) continue;
        found.add(seen.pid);
        list.push(seen);
        grew = true;
      }
    }
    return list;
  }

  private pids(role: string): number[] {
    return this.descendants()
      .filter(seen => seen.command.includes(`${role} --supervised`))
      .map(seen => seen.pid);
  }

  workers(): number[] {
    return this.pids('worker');
  }
  scheduler(): number | undefined {
    return this.pids('scheduler')[0];
  }
  nannies(): number[] {
    const hosts = this.hosts.map(host => host.child?.pid ?? 0);
    return [...this.pids('nanny'), ...hosts.filter(lives)];
  }

  /** Python processes that run tasks. */
  executors(): number[] {
    return this.descendants()
      .filter(seen => seen.command.includes('taskloom.executor'))
      .map(seen => seen.pid);
  }

  /** The host on which a process runs, or null for the cluster's own. */
  hostOf(pid: number): Host | null {
    const parent = processes().find(seen => seen.pid === pid)?.parent;
    return this.hosts.find(host => host.child?.pid === pid || host.child?.pid === parent) ?? null;
  }

  /** A worker was lost, or its link was, just now. */
  lost(): void {
    this.losses.push(Date.now());
  }

  /** Workers that are going now have been seen to go. */
  async look(): Promise<void> {
    await new Promise(resolve => setTimeout(resolve, LOOK_MS));
  }

  /** How many workers were lost since a time. */
  lossesSince(time: number): number {
    return this.losses.filter(lost => lost >= time).length;
  }

  private watch(): void {
    const now = new Set(this.workers());
    for (const pid of this.known) if (!now.has(pid)) this.lost();
    this.known = now;
  }

  // ---------------------------------------------------------------- the end

  /** Takes all faults away. */
  heal(): void {
    for (const pid of this.stopped) signal(pid, 'SIGCONT');
    this.stopped.clear();
    this.faulty.clear();
    for (const wire of this.network?.wires ?? []) this.network?.heal(wire);
    this.disk?.empty();
  }

  /** Ends all processes in order; what did not end, or was left behind, in sentences. */
  async end(): Promise<string[]> {
    this.ending = true;
    const left: string[] = [];
    if (this.watcher !== null) clearInterval(this.watcher);
    for (const { child } of this.hosts) child?.kill('SIGTERM');
    await this.local?.close('the chaos is over');
    await until('all processes have ended', () => this.descendants().length === 0, 30_000).catch(
      () => left.push(...this.descendants().map(seen => `process ${seen.pid}: ${seen.command}`))
    );
    const runtime = join(this.folder, 'runtime');
    left.push(...readdirSync(runtime).map(name => `file in the runtime folder: ${name}`));
    left.push(...(this.disk?.files() ?? []).map(name => `file in the spill folder: ${name}`));
    return left;
  }

  /** Removes whatever is still there, however the run went. */
  clear(keepFolder: boolean): void {
    this.ending = true;
    if (this.watcher !== null) clearInterval(this.watcher);
    for (const seen of this.descendants()) signal(seen.pid, 'SIGKILL');
    this.network?.close();
    this.disk?.close();
    if (!keepFolder) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The checkout's own interpreter, which has numpy; null when there is none or it is not wanted. */
function pythonOf(wanted: boolean): string | null {
  const path = join(import.meta.dirname, '..', '..', '.venv', 'bin', 'python');
  return wanted && existsSync(path) ? path : null;
}

/** False when the process is gone. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
