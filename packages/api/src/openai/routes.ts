import type { FastifyRequest } from 'fastify';
import { visitOf } from '../access/visit.js';
import { addAnswers } from '../answers/answer.js';
import { requireModel } from '../answers/models.js';
import type { ApiServing } from '../answers/resumable-answers.js';
import type { OfferedModel } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { parseChatRequest, parseTextRequest } from './parse.js';

export function addOpenaiRoutes(add: AddRoute, context: ApiServing): void {
  addAnswers(add, context, '/v1/chat/completions', parseChatRequest);
  addAnswers(add, context, '/v1/completions', parseTextRequest);

  const list = (request: FastifyRequest): object => {
    const visit = visitOf(request);
    const offered = context.models.list().filter(({ id }) => visit.mayUse(id));
    return { object: 'list', data: offered.flatMap(modelEntries) };
  };
  add('GET', '/v1/models', list);
  // The rest of the path, since ids may have slashes.
  add('GET', '/v1/models/*', (request) => {
    const asked = (request.params as { readonly '*': string })['*'].replace(/\/$/, '');
    if (asked === '') return list(request);
    return modelEntry(requireModel(context, request, asked), asked);
  });
}

/** One for each name, as vLLM lists its `--served-model-name`s. */
const modelEntries = (model: OfferedModel): object[] =>
  [model.id, ...model.aliases].map((name) => modelEntry(model, name));

/** OpenAI's four fields, and what others' servers add: vLLM the context and the root of an alias, llama-server sizes and state. */
function modelEntry(model: OfferedModel, name: string): object {
  const { id, createdS, contextTokens, vocabularySize, facts, state } = model;
  return {
    id: name,
    object: 'model',
    created: createdS,
    owned_by: 'butterfly',
    ...(name === id ? {} : { root: id }),
    max_model_len: contextTokens,
    context_length: contextTokens,
    capabilities: facts.capabilities,
    quantization: facts.quantisation,
    status: { value: state },
    meta: {
      n_vocab: vocabularySize,
      n_ctx_train: facts.contextTrained,
      n_params: facts.parameters,
      size: facts.bytes,
    },
  };
}
