import { answer } from '../answers/answer.js';
import type { ApiContext } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { parseInfillRequest } from './parse.js';

/** What editors ask that complete code with llama-server. */
export function addInfillRoutes(add: AddRoute, context: ApiContext): void {
  add('POST', '/infill', (request, reply) => answer(context, reply, parseInfillRequest(request.body)));
}
