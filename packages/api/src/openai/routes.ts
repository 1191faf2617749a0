import type { FastifyRequest } from 'fastify';
import { visitOf } from '../access/visit.js';
import { answer } from '../answers/answer.js';
import { requireModel } from '../answers/models.js';
import type { ApiContext, ServedModel } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { parseChatRequest, parseTextRequest } from './parse.js';

export function addOpenaiRoutes(add: AddRoute, context: ApiContext): void {
  add('POST', '/v1/chat/completions', (request, reply) =>
    answer(context, reply, parseChatRequest(request.body)),
  );
  add('POST', '/v1/completions', (request, reply) => answer(context, reply, parseTextRequest(request.body)));

  const model = modelEntry(context.model);
  const list = (request: FastifyRequest): object => ({
    object: 'list',
    data: visitOf(request).mayUse(context.model.id) ? [model] : [],
  });
  add('GET', '/v1/models', list);
  // The rest of the path, since ids may have slashes.
  add('GET', '/v1/models/*', (request) => {
    const asked = (request.params as { readonly '*': string })['*'].replace(/\/$/, '');
    if (asked === '') return list(request);
    requireModel(context, request, asked);
    return model;
  });
}

/** OpenAI's four fields, and what others' servers add: vLLM the context, llama-server the sizes. */
function modelEntry({ id, createdS, engine, vocabulary, facts }: ServedModel): object {
  return {
    id,
    object: 'model',
    created: createdS,
    owned_by: 'butterfly',
    max_model_len: engine.contextTokensMax,
    context_length: engine.contextTokensMax,
    capabilities: facts.capabilities,
    quantization: facts.quantisation,
    meta: {
      n_vocab: vocabulary.size,
      n_ctx_train: facts.contextTrained,
      n_params: facts.parameters,
      size: facts.bytes,
    },
  };
}
