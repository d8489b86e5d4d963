/**
 * Networks for a chaos run: each host is a network namespace of its own, joined by a veth pair to a
 * bridge in ours, so that its packets can be lost, held up or cut off. Needs root and iproute2; says
 * why when it cannot be made. `close` removes all of it, also when only half was made.
 *
 * Loss and delay are netem's where the kernel has it. Where it has not, a classic BPF filter sends a
 * share of the packets to a class of HTB that lets nothing through, and delay is the queue before a
 * slow class.
 */
import { execFileSync } from 'node:child_process';

/** A host's two ends of the wire. */
export interface Wire {
  namespace: string;
  address: string;
  /** The end in our namespace. */
  ours: string;
  theirs: string;
}

export class Network {
  readonly address: string;
  readonly wires: Wire[] = [];
  /** `netem`, or what is used in its place. */
  readonly means: string;
  private readonly prefix: string;
  private readonly bridge: string;

  /** Makes a bridge and so many namespaces, or says in a sentence why that is not possible here. */
  static create(hosts: number): Network | string {
    let network: Network | null = null;
    try {
      network = new Network();
      network.build(hosts);
      return network;
    } catch (error) {
      network?.close();
      const said = (error as { stderr?: string }).stderr?.trim() ?? '';
      const why = said === '' ? (error as Error).message : said;
      return `no network namespaces on this machine: ${why.split('\n')[0]}`;
    }
  }

  private constructor() {
    this.prefix = `tl${process.pid}`;
    this.bridge = `${this.prefix}b`;
    this.address = this.at(1);
    run('ip', ['link', 'add', this.bridge, 'type', 'bridge']);
    this.means = this.probe();
  }

  private at(last: number): string {
    return `10.203.${process.pid % 250}.${last}`;
  }

  private probe(): string {
    try {
      run('tc', ['qdisc', 'add', 'dev', this.bridge, 'root', 'netem', 'delay', '1ms']);
      run('tc', ['qdisc', 'del', 'dev', this.bridge, 'root']);
      return 'netem';
    } catch {
      return 'HTB and BPF, as this kernel has no netem';
    }
  }

  private build(hosts: number): void {
    run('ip', ['addr', 'add', `${this.address}/24`, 'dev', this.bridge]);
    run('ip', ['link', 'set', this.bridge, 'up']);
    for (let i = 0; i < hosts; i++) {
      const wire = {
        namespace: `${this.prefix}n${i}`,
        address: this.at(11 + i),
        ours: `${this.prefix}v${i}`,
        theirs: `${this.prefix}w${i}`
      };
      run('ip', ['netns', 'add', wire.namespace]);
      this.wires.push(wire);
      run('ip', ['link', 'add', wire.ours, 'type', 'veth', 'peer', 'name', wire.theirs]);
      run('ip', ['link', 'set', wire.theirs, 'netns', wire.namespace]);
      run('ip', ['link', 'set', wire.ours, 'master', this.bridge]);
      run('ip', ['link', 'set', wire.ours, 'up']);
      const inside = ['-n', wire.namespace];
      run('ip', [...inside, 'addr', 'add', `${wire.address}/24`, 'dev', wire.theirs]);
      run('ip', [...inside, 'link', 'set', wire.theirs, 'up']);
      run('ip', [...inside, 'link', 'set', 'lo', 'up']);
    }
  }

  /** Nothing passes any more, in either direction. */
  cut(wire: Wire): void {
    run('ip', ['link', 'set', wire.ours, 'down']);
  }

  /** Nothing passes towards the host; what it sends arrives. */
  cutOneWay(wire: Wire): void {
    this.shape(wire.ours, null, 1, 0);
  }

  /** Loses this share of the packets in both directions. */
  lose(wire: Wire, share: number): void {
    this.shape(wire.ours, null, share, 0);
    this.shape(wire.theirs, wire.namespace, share, 0);
  }

  /** Holds packets up by about so many ms in both directions. */
  delay(wire: Wire, ms: number): void {
    this.shape(wire.ours, null, 0, ms);
    this.shape(wire.theirs, wire.namespace, 0, ms);
  }

  private shape(device: string, namespace: string | null, loss: number, delay: number): void {
    const tc = (...args: string[]): void => {
      run('tc', namespace === null ? args : ['-n', namespace, ...args]);
    };
    if (this.means === 'netem') {
      const what =
        delay > 0 ? ['delay', `${delay}ms`, `${delay / 2}ms`] : ['loss', `${loss * 100}%`];
      return tc('qdisc', 'add', 'dev', device, 'root', 'netem', ...what);
    }
    tc('qdisc', 'add', 'dev', device, 'root', 'handle', '1:', 'htb', 'default', '1');
    const klass = (minor: string, ...rate: string[]): void =>
      tc('class', 'add', 'dev', device, 'parent', '1:', 'classid', minor, 'htb', ...rate);
    const room = ['quantum', '60000'];
    // A queue of 30 packets of 1500 bytes before a class of this rate takes `delay` ms to pass.
    if (delay > 0) {
      klass('1:1', 'rate', `${Math.round((30 * 1500 * 8) / delay)}kbit`, ...room);
      return tc('qdisc', 'add', 'dev', device, 'parent', '1:1', 'pfifo', 'limit', '30');
    }
    klass('1:1', 'rate', '10gbit', ...room);
    klass('1:2', 'rate', '8bit', 'burst', '1', ...room);
    tc('qdisc', 'add', 'dev', device, 'parent', '1:2', 'pfifo', 'limit', '1');
    // ld rand; jge #threshold, next, match; ret class 1:2; ret no match (class 1:1)
    const threshold = Math.floor(loss * 0xffffffff);
    const code = `4,32 0 0 4294963256,53 1 0 ${threshold},6 0 0 65538,6 0 0 0`;
    const parent = ['dev', device, 'parent', '1:'];
    tc('filter', 'add', ...parent, 'bpf', 'bytecode', code, 'flowid', '1:2');
  }

  /** Takes every fault of the wire away. */
  heal(wire: Wire): void {
    attempt('tc', ['qdisc', 'del', 'dev', wire.ours, 'root']);
    attempt('tc', ['-n', wire.namespace, 'qdisc', 'del', 'dev', wire.theirs, 'root']);
    attempt('ip', ['link', 'set', wire.ours, 'up']);
  }

  close(): void {
    for (const wire of this.wires) {
      attempt('ip', ['link', 'del', wire.ours]);
      attempt('ip', ['netns', 'del', wire.namespace]);
    }
    attempt('ip', ['link', 'del', this.bridge]);
  }
}

/** Breaks the TCP connections of a process to a port, as a firewall that forgets them would. */
export function resetConnections(namespace: string | null, pid: number, port: number): number {
  const inside = namespace === null ? [] : ['-N', namespace];
  const lines = run('ss', [...inside, '-tnpH', 'state', 'established', 'dport', '=', `:${port}`]);
  let count = 0;
  for (const line of lines.split('\n')) {
    if (!line.includes(`pid=${pid},`)) continue;
    const [, , local = '', peer = ''] = line.trim().split(/\s+/);
    attempt('ss', [...inside, '-K', 'src', local, 'dst', peer]);
    count++;
  }
  return count;
}

function run(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function attempt(command: string, args: readonly string[]): void {
  try {
    run(command, args);
  } catch {
    // It was not there, or is gone already.
  }
}
