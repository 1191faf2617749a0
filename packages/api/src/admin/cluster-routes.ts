import { ButterflyError } from '@butterfly/common';
import type { ClusterDescription, WorkerDescription } from '@butterfly/orchestrator';
import { findVisit } from '../access/visit.js';
import { requireAdministrator } from './cluster-access.js';
import type { ApiContext, ClusterAdministration } from '../context.js';
import type { AddAdminRoute } from './add-admin-route.js';
import { addModelRoutes } from './model-routes.js';
import { addObservationRoutes } from './observation-routes.js';

/** Adds the routes for those who run the cluster. */
export function addClusterRoutes(
  add: AddAdminRoute,
  administration: ClusterAdministration,
  context: ApiContext,
): void {
  const { view, token, metrics } = administration;
  const { models } = context;
  const guarded: AddAdminRoute = (method, url, handler) =>
    add(method, url, (request, reply) => {
      requireAdministrator(
        {
          remoteAddress: request.socket.remoteAddress ?? '',
          headers: request.headers,
          hasAdminKey: findVisit(request)?.isAdmin ?? false,
        },
        token,
      );
      return handler(request, reply);
    });

  guarded('GET', '/cluster', (request) => {
    const { model } = request.query as { readonly model?: unknown };
    return view.describe(typeof model === 'string' ? (models.find(model)?.id ?? model) : undefined);
  });
  guarded('POST', '/cluster/workers/:name/drain', (request, reply) => {
    const { name } = request.params as { readonly name: string };
    const { workerId } = findWorker(view.describe(), name);
    view.drain(workerId);
    return reply.code(202).send({ workerId, name, state: 'draining' });
  });
  guarded('POST', '/cluster/workers/:name/revoke', async (request) => {
    const { name } = request.params as { readonly name: string };
    const { workerId } = findWorker(view.describe(), name);
    await view.revoke(workerId);
    return { workerId, name, state: 'revoked' };
  });
  addModelRoutes(guarded, models);
  addObservationRoutes(guarded, administration, context);
  if (metrics)
    guarded('GET', '/metrics', async (request, reply) => {
      const { contentType, text } = await metrics(request.headers.accept);
      return reply.header('content-type', contentType).send(text);
    });
}

/**
 * The worker that people call so; an id is as good as a name.
 * @throws ButterflyError NOT_FOUND, or REQUEST_INVALID when several have this name
 */
export function findWorker({ workers }: ClusterDescription, name: string): WorkerDescription {
  const found = workers.filter((worker) => worker.workerId === name);
  const called = found.length > 0 ? found : workers.filter((worker) => worker.name === name);
  const [worker, ...others] = called;
  const list = (some: readonly WorkerDescription[]) =>
    some.map((each) => `${each.workerId} (${each.name})`).join(', ');
  if (!worker)
    throw new ButterflyError(
      'NOT_FOUND',
      `There is no worker "${name}"; ${workers.length === 0 ? 'no worker has joined' : `there are ${list(workers)}`}.`,
      { param: 'name' },
    );
  if (others.length > 0)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `${called.length} workers are called "${name}"; name one by its id: ${list(called)}.`,
      { param: 'name' },
    );
  return worker;
}
