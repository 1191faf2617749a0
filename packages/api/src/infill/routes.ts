import { addAnswers } from '../answers/answer.js';
import type { ApiServing } from '../answers/resumable-answers.js';
import type { AddRoute } from '../http/add-route.js';
import { parseInfillRequest } from './parse.js';

/** What editors ask that complete code with llama-server. */
export function addInfillRoutes(add: AddRoute, context: ApiServing): void {
  addAnswers(add, context, '/infill', parseInfillRequest);
}
