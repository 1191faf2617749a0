import { ButterflyError } from '@butterfly/common';
import type { FastifyRequest } from 'fastify';
import { visitOf } from '../access/visit.js';
import type { ApiContext, ModelUse, OfferedModel } from '../context.js';
import { onClientGone } from '../http/open-responses.js';

/** The model that a request names, or leaves to the server. @throws ButterflyError NOT_FOUND; ACCESS_DENIED where its key is for others */
export function requireModel(
  { models }: Pick<ApiContext, 'models'>,
  request: FastifyRequest,
  name: string | null,
): OfferedModel {
  const visit = visitOf(request);
  const offered = models.list();
  // Whoever names none gets the first that it may ask.
  const found =
    name === null ? (offered.find(({ id }) => visit.mayUse(id)) ?? offered[0]) : models.find(name);
  if (!found) {
    const there = offered.filter(({ id }) => visit.mayUse(id)).map(({ id }) => `"${id}"`);
    throw new ButterflyError(
      'NOT_FOUND',
      `There is no model "${name ?? ''}" here; this server has ${there.join(', ') || 'none for this key'}.`,
      { param: 'model' },
    );
  }
  visit.checkModel(found.id);
  return found;
}

/**
 * The same, loaded where it was not, until the use is disposed. A client that goes away meanwhile waits no more.
 * @throws ButterflyError as `requireModel` and `ModelDirectory.use` do
 */
export async function useModel(
  context: Pick<ApiContext, 'models'>,
  request: FastifyRequest,
  name: string | null,
  keepMs?: number,
): Promise<ModelUse> {
  const { id } = requireModel(context, request, name);
  const gone = new AbortController();
  const stopWatching = onClientGone(request, () => gone.abort());
  try {
    return await context.models.use(id, {
      signal: gone.signal,
      ...(keepMs === undefined ? {} : { keepMs }),
    });
  } finally {
    stopWatching();
  }
}
