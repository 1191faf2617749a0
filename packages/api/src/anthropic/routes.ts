import { promptTokens } from '@butterfly/generation';
import { answer } from '../answers/answer.js';
import { useModel } from '../answers/models.js';
import type { ApiContext } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { parseCountRequest, parseMessagesRequest } from './parse.js';

export function addAnthropicRoutes(add: AddRoute, context: ApiContext): void {
  add('POST', '/v1/messages', (request, reply) => answer(context, reply, parseMessagesRequest(request.body)));
  add('POST', '/v1/messages/count_tokens', async (request) => {
    const { model, input } = parseCountRequest(request.body);
    using use = await useModel(context, request, model);
    const tokens = await promptTokens(use.model, input, 'messages');
    return { input_tokens: tokens.length };
  });
}
