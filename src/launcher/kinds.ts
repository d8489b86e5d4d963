/**
 * The kinds of cluster that the sidebar can make, with the JSON schema of each form, and the check
 * of what a form sends back.
 */
import { ConfigError } from '../base/errors.ts';
import { formatBytes } from '../base/bytes.ts';
import { totalMemory } from '../config/memory.ts';
import { localShape } from '../deploy/shape.ts';
import type { ClusterKind, NewCluster } from '../protocol/launcher.ts';

/** What this machine offers, with its own numbers as defaults. */
export function clusterKinds(): ClusterKind[] {
  const shape = localShape({});
  return [
    {
      kind: 'local',
      title: 'Local cluster',
      description: `Worker processes on this machine (${formatBytes(totalMemory())} of memory).`,
      schema: {
        type: 'object',
        additionalProperties: false,
        properties: {
          name: {
            type: 'string',
            title: 'Name',
            description: 'Shown in the sidebar and used by Client.connect; a fresh one if empty.',
            maxLength: 100
          },
          workers: {
            type: 'integer',
            title: 'Workers',
            description: 'Processes.',
            minimum: 0,
            maximum: 10_000,
            default: shape.workers
          },
          threadsPerWorker: {
            type: 'integer',
            title: 'Threads per worker',
            description: 'Tasks that each runs at a time.',
            minimum: 1,
            maximum: 10_000,
            default: shape.threads
          },
          memoryLimit: {
            type: 'string',
            title: 'Memory limit per worker',
            description: 'Such as "2 GiB"; "auto" splits the machine; 0 is no limit.',
            default: 'auto'
          }
        }
      }
    }
  ];
}

/** The request's body as a NewCluster. Throws ConfigError naming the field. */
export function checkNewCluster(body: unknown): NewCluster {
  if (typeof body !== 'object' || body === null) throw new ConfigError('A cluster needs a kind.');
  const { kind, name, workers, threadsPerWorker, memoryLimit, ...rest } = body as Record<
    string,
    unknown
  >;
  if (kind !== 'local') {
    throw new ConfigError(`Clusters of kind ${JSON.stringify(kind)} cannot be made here.`);
  }
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw new ConfigError(`A local cluster has no field "${unknown}".`);
  if (name !== undefined && typeof name !== 'string') throw new ConfigError('name must be a text.');
  const limit = typeof memoryLimit;
  if (memoryLimit !== undefined && limit !== 'string' && limit !== 'number') {
    throw new ConfigError('memoryLimit must be bytes or a text such as "2 GiB".');
  }
  const wish: NewCluster = { kind };
  if (name !== undefined && name.trim() !== '') wish.name = name.trim();
  if (workers !== undefined) wish.workers = workers as number;
  if (threadsPerWorker !== undefined) wish.threadsPerWorker = threadsPerWorker as number;
  if (memoryLimit !== undefined) wish.memoryLimit = memoryLimit as number | string;
  // Everything else that can be wrong with the numbers is said here, before a process starts.
  localShape(wish);
  return wish;
}
