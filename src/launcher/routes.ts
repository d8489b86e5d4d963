/**
 * The launcher's HTTP routes, one function for all: path and method in, status and body out.
 */
import { ConfigError, TaskloomError } from '../base/errors.ts';
import { checkCount } from '../deploy/shape.ts';
import { checkNewCluster, clusterKinds } from './kinds.ts';
import type { ClusterRegistry } from './registry.ts';

export interface RouteAnswer {
  status: number;
  body?: unknown;
}

/** Answers a request, or throws a TaskloomError. */
export async function answerRoute(
  registry: ClusterRegistry,
  method: string,
  path: string,
  query: URLSearchParams,
  body: unknown
): Promise<RouteAnswer> {
  switch (`${method} ${path}`) {
    case 'GET /':
    case 'GET /clusters':
      await registry.refresh();
      return { status: 200, body: { clusters: registry.list(), active: registry.active() } };
    case 'POST /clusters':
      return { status: 201, body: await registry.create(checkNewCluster(body)) };
    case 'PUT /active':
      registry.setActive(activeOf(body));
      return { status: 204 };
    case 'GET /kinds':
      return { status: 200, body: { kinds: clusterKinds() } };
  }
  const match = /^\/clusters\/([^/]+)(?:\/([a-z-]+))?$/.exec(path);
  if (match === null) throw notFound(method, path);
  const id = decodeURIComponent(match[1] ?? '');
  switch (`${method} ${match[2] ?? ''}`) {
    case 'GET ':
      return { status: 200, body: registry.info(id) };
    case 'POST scale':
      return { status: 200, body: await registry.scale(id, workersOf(body)) };
    case 'POST restart-workers':
      return { status: 200, body: await registry.restartWorkers(id) };
    case 'DELETE ':
      if (query.get('forget') === '1') registry.forget(id);
      else await registry.stop(id);
      return { status: 204 };
    case 'GET logs':
      return { status: 200, body: await registry.logs(id) };
  }
  throw notFound(method, path);
}

function notFound(method: string, path: string): TaskloomError {
  return new TaskloomError('NOT_FOUND', `The launcher has no route ${method} ${path}.`);
}

function workersOf(body: unknown): number {
  const workers = (body as { workers?: unknown } | null | undefined)?.workers;
  if (typeof workers !== 'number') throw new ConfigError('Say how many workers: {"workers": 4}.');
  checkCount('workers', workers, 0);
  return workers;
}

function activeOf(body: unknown): string | null {
  const id = (body as { id?: unknown } | null | undefined)?.id;
  if (id === null || typeof id === 'string') return id;
  throw new ConfigError('Say which cluster: {"id": "local-7f3a"}, or {"id": null}.');
}
