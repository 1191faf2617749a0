import { ButterflyError } from '@butterfly/common';
import type { FastifyRequest } from 'fastify';
import { visitOf } from '../access/visit.js';
import type { ApiContext, ServedModel } from '../context.js';

/** The model that a request names, or leaves to the server. @throws ButterflyError NOT_FOUND; ACCESS_DENIED where its key is for others */
export function requireModel({ model }: ApiContext, request: FastifyRequest, id: string | null): ServedModel {
  if (id === null || id === model.id) {
    visitOf(request).checkModel(model.id);
    return model;
  }
  throw new ButterflyError('NOT_FOUND', `There is no model "${id}" here; this server has "${model.id}".`, {
    param: 'model',
  });
}
