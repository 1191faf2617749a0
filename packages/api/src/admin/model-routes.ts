import { ButterflyError } from '@butterfly/common';
import { z } from 'zod';
import type { ModelDirectory, OfferedModel } from '../context.js';
import { parseBody } from '../fields/parse-body.js';
import type { AddAdminRoute } from './add-admin-route.js';

const named = z.strictObject({ model: z.string().min(1) });

/** What is loaded, and what to load and to let go: under the paths of llama-server's router. */
export function addModelRoutes(add: AddAdminRoute, models: ModelDirectory): void {
  add('GET', '/models', () => ({ models: models.list().map(described) }));
  add('POST', '/models/load', async (request) => {
    const { id } = find(models, parseBody(named, request.body).model);
    using _use = await models.use(id);
    return described(find(models, id));
  });
  add('POST', '/models/unload', async (request) => {
    const { id } = find(models, parseBody(named, request.body).model);
    await models.unload(id);
    return described(find(models, id));
  });
}

/** Whoever runs the server may use all of them. @throws ButterflyError NOT_FOUND */
function find(models: ModelDirectory, name: string): OfferedModel {
  const model = models.find(name);
  if (model) return model;
  const there = models.list().map(({ id }) => `"${id}"`);
  throw new ButterflyError(
    'NOT_FOUND',
    `There is no model "${name}" here; this server has ${there.join(', ')}.`,
    { param: 'model' },
  );
}

function described({ id, aliases, facts, contextTokens, ...model }: OfferedModel): object {
  const { state, loadedBytes, expiresMs, failure } = model;
  return {
    id,
    aliases,
    state,
    architecture: facts.architecture,
    parameters: facts.parameters,
    quantisation: facts.quantisation,
    fileBytes: facts.bytes,
    contextTokens,
    loadedBytes,
    expiresAt: expiresMs === null ? null : new Date(expiresMs).toISOString(),
    failure: failure && { code: failure.code, message: failure.message },
  };
}
