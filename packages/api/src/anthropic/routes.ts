import { promptTokens } from '@butterfly/generation';
import { addAnswers } from '../answers/answer.js';
import { useModel } from '../answers/models.js';
import type { ApiServing } from '../answers/resumable-answers.js';
import type { AddRoute } from '../http/add-route.js';
import { parseCountRequest, parseMessagesRequest } from './parse.js';

export function addAnthropicRoutes(add: AddRoute, context: ApiServing): void {
  addAnswers(add, context, '/v1/messages', parseMessagesRequest);
  add('POST', '/v1/messages/count_tokens', async (request) => {
    const { model, input } = parseCountRequest(request.body);
    using use = await useModel(context, request, model);
    const tokens = await promptTokens(use.model, input, 'messages');
    return { input_tokens: tokens.length };
  });
}
