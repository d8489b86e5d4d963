/** What the world does to processes and networks; one at a time, at random moments. */
import type { Cluster } from './cluster.ts';
import type { Choice } from './plan.ts';
import type { SimWorker } from './worker.ts';

type Fault = Choice<Cluster>;

function note({ world }: Cluster, what: string): void {
  world.note('*', `FAULT ${what}`);
}

function anyWorker(cluster: Cluster): SimWorker | null {
  const { alive } = cluster;
  return alive.length === 0 ? null : cluster.world.rng.pick(alive);
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'crash',
    weight: 3,
    run: cluster => {
      const worker = anyWorker(cluster);
      if (worker === null) return;
      note(cluster, `worker ${worker.id} is killed`);
      worker.crash();
    }
  },
  {
    // The machine is gone: not even what it has sent arrives, and nobody sees a link close.
    name: 'power-loss',
    weight: 1,
    run: cluster => {
      const worker = anyWorker(cluster);
      if (worker === null) return;
      note(cluster, `worker ${worker.id} loses power`);
      worker.link.break();
      worker.crash();
    }
  },
  {
    name: 'scheduler-dies',
    weight: 1,
    run: cluster => {
      if (!cluster.plan.reconnects) return;
      note(cluster, 'the scheduler is killed');
      cluster.restartScheduler();
    }
  },
  {
    // Each side notices when it does: one may think the other gone that thinks it alive.
    name: 'partition-scheduler',
    weight: 2,
    run: cluster => {
      const worker = anyWorker(cluster);
      if (worker === null) return;
      note(cluster, `worker ${worker.id} and the scheduler are parted`);
      worker.link.break();
    }
  },
  {
    name: 'partition-peers',
    weight: 2,
    run: cluster => {
      const [a, b] = [anyWorker(cluster), anyWorker(cluster)];
      if (a === null || b === null || a === b) return;
      note(cluster, `workers ${a.id} and ${b.id} are parted`);
      cluster.cut(a.id, b.id);
    }
  },
  {
    name: 'partition-client',
    weight: 0.5,
    run: cluster => {
      const worker = anyWorker(cluster);
      const clients = cluster.clients.filter(client => client.alive);
      if (worker === null || clients.length === 0) return;
      const client = cluster.world.rng.pick(clients);
      note(cluster, `client ${client.id} and worker ${worker.id} are parted`);
      cluster.cut(client.id, worker.id);
    }
  },
  {
    name: 'stall',
    weight: 2,
    run: cluster => {
      const clients = cluster.clients.filter(client => client.alive);
      const processes = [...cluster.alive, ...clients];
      if (processes.length === 0) return;
      note(cluster, 'a link stalls');
      const { rng } = cluster.world;
      const sides = rng.pick<readonly (0 | 1)[]>([[0], [0], [1], [0, 1]]);
      rng.pick(processes).link.stall(rng.integer(50, 1500), sides);
    }
  },
  {
    name: 'slow-machine',
    weight: 1,
    run: cluster => {
      const worker = anyWorker(cluster);
      if (worker === null) return;
      note(cluster, `worker ${worker.id} gets slow`);
      worker.slowness = cluster.world.rng.integer(2, 20);
    }
  },
  {
    name: 'pause',
    weight: 1,
    run: cluster => {
      const worker = anyWorker(cluster);
      if (worker === null) return;
      note(cluster, `memory of worker ${worker.id} is short`);
      worker.setHog(0.2 + 0.7 * cluster.world.rng.next());
      cluster.world.after(cluster.world.rng.integer(5, 600), () => worker.setHog(0));
    }
  },
  {
    name: 'clock-jump',
    weight: 1,
    run: cluster => {
      const { rng } = cluster.world;
      const process = rng.pick([cluster.scheduler, ...cluster.alive]);
      // The scheduler's clock is steady: it can only have been asleep.
      const minutes = rng.pick(process === cluster.scheduler ? [2, 30] : [-30, -2, 2, 30]);
      note(cluster, `a clock jumps by ${minutes} minutes`);
      cluster.jumped = true;
      process.skew += minutes * 60_000;
    }
  },
  {
    name: 'client-link',
    weight: 0.5,
    run: cluster => {
      const clients = cluster.clients.filter(client => client.alive);
      if (clients.length === 0) return;
      const client = cluster.world.rng.pick(clients);
      note(cluster, `client ${client.id} and the scheduler are parted`);
      client.link.break();
    }
  }
];
