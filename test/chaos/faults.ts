/**
 * The faults of a chaos run, a table: how often relative to others, and how it is done. A fault
 * that cannot be done at the moment gives null and is not counted. What has to be taken back is
 * taken back by itself after a while, or by `Setting.heal`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Rng } from '../../src/base/rng.ts';
import { nodePath } from '../../src/config/runtime.ts';
import { sleep } from './load.ts';
import type { Load } from './load.ts';
import { resetConnections } from './network.ts';
import type { Network, Wire } from './network.ts';
import type { PythonKind, PythonLoad } from './python.ts';
import { signal } from './setting.ts';
import type { Setting } from './setting.ts';
import type { Tally } from './tally.ts';

/** What a fault works with. */
export interface Scene {
  setting: Setting;
  loads: readonly Load[];
  /** null = no Python in this run. */
  python: PythonLoad | null;
  tally: Tally;
  rng: Rng;
}

export interface Fault {
  name: string;
  weight: number;
  /** Does it, and gives details for the log. */
  inject(scene: Scene): string | null;
}

/** A scheduler that dies more often than six times in two minutes is not started again. */
const RESTARTS_MOST = 4;
const RESTART_WINDOW_MS = 120_000;
const STOP_LEAST_MS = 100;
const STOP_MOST_MS = 20_000;

/** Between the two, as often below their geometric mean as above it. */
function duration(rng: Rng, least = STOP_LEAST_MS, most = STOP_MOST_MS): number {
  return Math.round(least * (most / least) ** rng.next());
}

function pick<T>(rng: Rng, items: readonly T[]): T | null {
  return items.length === 0 ? null : rng.pick(items);
}

function kill(
  pid: number | null,
  { setting }: Scene,
  name: NodeJS.Signals = 'SIGKILL'
): string | null {
  if (pid === null || !signal(pid, name)) return null;
  setting.stopped.delete(pid);
  return `pid ${pid}`;
}

/** SIGSTOP now, SIGCONT after a while. */
function stop(pid: number | null, { setting, rng }: Scene): string | null {
  if (pid === null || setting.stopped.has(pid) || !signal(pid, 'SIGSTOP')) return null;
  const ms = duration(rng);
  setting.stopped.add(pid);
  setTimeout(() => {
    if (setting.stopped.delete(pid)) signal(pid, 'SIGCONT');
  }, ms);
  return `pid ${pid} for ${ms} ms`;
}

/** A fault of one host's wire, healed after a while. */
function onWire(
  { setting, rng }: Scene,
  most: number,
  act: (network: Network, wire: Wire) => string
): string | null {
  const { network } = setting;
  const free = network?.wires.filter(wire => !setting.faulty.has(wire)) ?? [];
  const wire = pick(rng, free);
  if (network === null || wire === null) return null;
  const ms = duration(rng, 500, most);
  setting.faulty.add(wire);
  const what = act(network, wire);
  setTimeout(() => {
    if (setting.faulty.delete(wire)) network.heal(wire);
  }, ms);
  return `${wire.address} ${what}for ${ms} ms`;
}

/** A Python task that misbehaves, sometimes always, else a few times. */
function inPython({ python, rng }: Scene, kind: PythonKind): string | null {
  if (python === null) return null;
  const times = rng.chance(0.3) ? 1e9 : rng.integer(1, 2);
  python.misbehave(kind, { times });
  return times > 2 ? 'always' : `${times} times`;
}

/** What hits the Python processes of workers. */
const PYTHON_FAULTS: readonly Fault[] = [
  {
    name: 'kill-python',
    weight: 2,
    inject: scene => {
      scene.setting.executorKills.push(Date.now());
      return kill(pick(scene.rng, scene.setting.executors()), scene);
    }
  },
  {
    name: 'stop-python',
    weight: 2,
    inject: scene => stop(pick(scene.rng, scene.setting.executors()), scene)
  },
  { name: 'python-segfault', weight: 1, inject: scene => inPython(scene, 'segfaults') },
  { name: 'python-exit', weight: 1, inject: scene => inPython(scene, 'exits') },
  { name: 'python-out-of-memory', weight: 1, inject: scene => inPython(scene, 'hogs') },
  {
    name: 'python-endless',
    weight: 1,
    inject: ({ python, rng }) => {
      const seconds = duration(rng, 200, 5000) / 1000;
      const isCancelled = rng.chance(0.5);
      python?.misbehave('endless', { seconds, ...(isCancelled ? { cancel: seconds } : {}) });
      if (python === null) return null;
      return `${isCancelled ? 'cancelled by force' : 'ended by its timeout'} after ${seconds} s`;
    }
  },
  {
    name: 'python-holds-interpreter',
    weight: 1,
    inject: ({ python, rng }) => {
      const seconds = Math.ceil(duration(rng, 1000, 20_000) / 1000);
      python?.misbehave('holds', { seconds, times: 1 });
      return python === null ? null : `for ${seconds} s`;
    }
  }
];

export const FAULTS: readonly Fault[] = [
  ...PYTHON_FAULTS,
  {
    name: 'kill-worker',
    weight: 5,
    inject: scene => kill(pick(scene.rng, scene.setting.workers()), scene)
  },
  {
    name: 'end-worker',
    weight: 1,
    inject: scene => kill(pick(scene.rng, scene.setting.workers()), scene, 'SIGTERM')
  },
  {
    name: 'kill-nanny',
    weight: 2,
    inject: scene => {
      // A nanny of the cluster's own is the cluster: without it there is nothing to look at.
      const pids = scene.setting.hosts.map(host => host.child?.pid ?? 0);
      return kill(
        pick(
          scene.rng,
          pids.filter(pid => pid > 0)
        ),
        scene
      );
    }
  },
  {
    name: 'stop-worker',
    weight: 4,
    inject: scene => stop(pick(scene.rng, scene.setting.workers()), scene)
  },
  {
    name: 'stop-nanny',
    weight: 1,
    inject: scene => stop(pick(scene.rng, scene.setting.nannies()), scene)
  },
  {
    name: 'stop-scheduler',
    weight: 2,
    inject: scene => stop(scene.setting.scheduler() ?? null, scene)
  },
  {
    name: 'kill-scheduler',
    weight: 1.5,
    inject: scene => {
      const { setting } = scene;
      const since = Date.now() - RESTART_WINDOW_MS;
      if (setting.kills.filter(time => time > since).length >= RESTARTS_MOST) return null;
      setting.kills.push(Date.now());
      return kill(setting.scheduler() ?? null, scene);
    }
  },
  {
    name: 'segfault',
    weight: 1,
    inject: ({ loads, rng }) => {
      const times = rng.chance(0.3) ? 1e9 : rng.integer(1, 3);
      rng.pick(loads).misbehave('segfaults', { times });
      return times > 3 ? 'always' : `${times} times`;
    }
  },
  {
    name: 'out-of-memory',
    weight: 1,
    inject: ({ setting, loads, rng }) => {
      const times = rng.chance(0.3) ? 1e9 : rng.integer(1, 2);
      setting.hogs.push(Date.now());
      rng.pick(loads).misbehave('hogs', { times });
      return times > 3 ? 'always' : `${times} times`;
    }
  },
  {
    name: 'heap-full',
    weight: 1,
    inject: ({ loads, rng }) => {
      rng.pick(loads).misbehave('fills-heap', {});
      return 'of an executor';
    }
  },
  {
    name: 'executor-exit',
    weight: 1,
    inject: ({ loads, rng }) => {
      rng.pick(loads).misbehave('exits', {});
      return 'of its own';
    }
  },
  {
    name: 'endless-task',
    weight: 2,
    inject: ({ loads, rng }) => {
      const ms = duration(rng, 200, 5000);
      if (rng.chance(0.5)) {
        rng.pick(loads).misbehave('endless', { timeout: ms / 1000 });
        return `ended by its timeout of ${ms} ms`;
      }
      rng.pick(loads).misbehave('endless', { cancelAfter: ms });
      return `cancelled by force after ${ms} ms`;
    }
  },
  {
    name: 'disk-full',
    weight: 2,
    inject: ({ setting, rng }) => {
      const { disk } = setting;
      if (disk === null) return null;
      const ms = duration(rng, 500, 15_000);
      disk.fill();
      setTimeout(() => disk.empty(), ms);
      return `for ${ms} ms`;
    }
  },
  {
    name: 'cut-network',
    weight: 1,
    inject: scene =>
      onWire(scene, 15_000, (network, wire) => {
        const oneWay = scene.rng.chance(0.4);
        if (oneWay) network.cutOneWay(wire);
        else network.cut(wire);
        return oneWay ? 'one way ' : '';
      })
  },
  {
    name: 'lose-packets',
    weight: 1,
    inject: scene =>
      onWire(scene, 20_000, (network, wire) => {
        const share = scene.rng.pick([0.01, 0.05, 0.2]);
        network.lose(wire, share);
        return `${share * 100} % `;
      })
  },
  {
    name: 'delay-packets',
    weight: 1,
    inject: scene =>
      onWire(scene, 20_000, (network, wire) => {
        const ms = scene.rng.pick([20, 100, 300]);
        network.delay(wire, ms);
        return `by ${ms} ms `;
      })
  },
  {
    name: 'reset-link',
    weight: 1,
    inject: ({ setting, rng }) => {
      if (setting.network === null) return null;
      const pid = pick(rng, setting.workers());
      if (pid === null) return null;
      const namespace = setting.hostOf(pid)?.wire?.namespace ?? null;
      const port = Number(new URL(setting.cluster.address).port);
      if (resetConnections(namespace, pid, port) === 0) return null;
      setting.lost();
      return `of worker pid ${pid} to the scheduler`;
    }
  },
  {
    name: 'scale',
    weight: 2,
    inject: ({ setting, rng, tally }) => {
      const workers = rng.integer(1, setting.options.workers + 1);
      setting.cluster.scale(workers).catch((error: Error) => tally.refused(error.message));
      return `to ${workers} workers`;
    }
  },
  {
    name: 'adapt',
    weight: 1,
    inject: ({ setting, rng, tally }) => {
      const ms = duration(rng, 1000, 20_000);
      const refused = (error: Error): void => tally.refused(error.message);
      const bounds = { minimum: rng.integer(0, 1), maximum: setting.options.workers + 1 };
      setting.cluster.adapt(bounds).catch(refused);
      setTimeout(() => setting.cluster.adapt(null).catch(refused), ms);
      return `between ${bounds.minimum} and ${bounds.maximum} workers for ${ms} ms`;
    }
  },
  {
    name: 'retire',
    weight: 1,
    inject: ({ setting, loads, tally, rng }) => {
      const { connection } = rng.pick(loads);
      const options = { count: 1, timeout: rng.integer(1, 10) };
      connection.retireWorkers(options).catch((error: Error) => tally.refused(error.message));
      const scale = (): Promise<void> => setting.cluster.scale(setting.options.workers);
      setTimeout(() => scale().catch((error: Error) => tally.refused(error.message)), 10_000);
      return 'one worker';
    }
  },
  {
    name: 'restart-workers',
    weight: 0.5,
    inject: ({ setting, tally }) => {
      setting.cluster.restartWorkers().catch((error: Error) => tally.refused(error.message));
      return 'of the cluster';
    }
  },
  {
    name: 'kill-client',
    weight: 1,
    inject: scene => {
      void killClient(scene);
      return 'while its tasks run';
    }
  }
];

/** Starts a client that submits tasks, and kills it when some of them run. */
async function killClient({ setting, rng }: Scene): Promise<void> {
  const { address, token } = setting.cluster;
  const script = join(import.meta.dirname, 'passer-by.ts');
  const child = spawn(nodePath(), [script, address, setting.marks], {
    env: { ...process.env, TASKLOOM_TOKEN: token },
    stdio: ['ignore', 'pipe', 'ignore']
  });
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit'), sleep(20_000)]);
  await sleep(rng.integer(50, 2000));
  child.kill('SIGKILL');
}

/** One of them, by weight. */
export function pickFault(faults: readonly Fault[], rng: Rng): Fault {
  let left = rng.next() * faults.reduce((sum, fault) => sum + fault.weight, 0);
  for (const fault of faults) if ((left -= fault.weight) <= 0) return fault;
  return faults[0] as Fault;
}
