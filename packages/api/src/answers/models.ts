import { ButterflyError } from '@butterfly/common';
import type { ApiContext, ServedModel } from '../context.js';

/** @throws ButterflyError NOT_FOUND */
export function requireModel({ model }: ApiContext, id: string | null): ServedModel {
  if (id === null || id === model.id) return model;
  throw new ButterflyError('NOT_FOUND', `There is no model "${id}" here; this server has "${model.id}".`, {
    param: 'model',
  });
}
