import { promptTokens } from '@butterfly/generation';
import { answer } from '../answers/answer.js';
import { requireModel } from '../answers/models.js';
import type { ApiContext } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { parseCountRequest, parseMessagesRequest } from './parse.js';

export function addAnthropicRoutes(add: AddRoute, context: ApiContext): void {
  add('POST', '/v1/messages', (request, reply) => answer(context, reply, parseMessagesRequest(request.body)));
  add('POST', '/v1/messages/count_tokens', async (request) => {
    const { model, input } = parseCountRequest(request.body);
    const tokens = await promptTokens(requireModel(context, request, model), input, 'messages');
    return { input_tokens: tokens.length };
  });
}
