import { ButterflyError, deadlines, limits, observerOfModel } from '@butterfly/common';
import { type EmbedSpec, EmbeddingRun, type Embeddings } from '@butterfly/generation';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { visitOf } from '../access/visit.js';
import { nameWithoutEffect } from '../answers/no-effect.js';
import { useModel } from '../answers/models.js';
import type { ApiContext, ServedModel } from '../context.js';
import { namesWithoutEffect, shapeOf } from '../fields/field-kinds.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { plainInputs } from '../fields/plain-inputs.js';
import { isBlank } from '../fields/values.js';
import type { AddRoute } from '../http/add-route.js';
import { onClientGone } from '../http/open-responses.js';
import { embeddingFields, rerankFields } from './fields.js';

const embeddingSchema = z.strictObject(shapeOf(embeddingFields));
const rerankSchema = z.strictObject(shapeOf(rerankFields));

/** Vectors of texts, and scores of documents. */
export function addEmbeddingRoutes(add: AddRoute, context: ApiContext): void {
  add('POST', '/v1/embeddings', (request, reply) => embeddings(context, request, reply));
  for (const path of ['/rerank', '/v1/rerank'])
    add('POST', path, (request, reply) => rerank(context, request, reply));
}

/** Runs to the end, unless its client goes away. @throws ButterflyError as `EmbeddingRun` does; RATE_LIMITED */
export async function embedded(
  context: Pick<ApiContext, 'observe' | 'clock'>,
  request: FastifyRequest,
  model: ServedModel,
  spec: EmbedSpec,
): Promise<Embeddings> {
  const visit = visitOf(request);
  const { tenant } = visit;
  const { id: requestId } = request;
  const priority = visit.priorityOf(spec.priority ?? 0);
  const run = new EmbeddingRun(model, { ...spec, tenant, priority, requestId });
  const observe = observerOfModel(context.observe, model.id);
  const startMs = context.clock.nowMs();
  const { promptTokens } = run;
  // Texts take turns, and of one request few are under way.
  visit.charge(promptTokens, 1);
  observe({ kind: 'requestBegun', requestId, tenant: tenant ?? null, isStream: false, promptTokens });
  const stopWatching = onClientGone(request, () => run.cancel());
  try {
    return await run.run();
  } finally {
    stopWatching();
    visit.settle(promptTokens);
    const totalMs = Math.round(context.clock.nowMs() - startMs);
    const tokens = { promptTokens, outputTokens: 0 };
    observe({ kind: 'requestEnded', requestId, completionId: requestId, totalMs, ...tokens });
  }
}

async function embeddings(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<object> {
  const fields = parseBody(embeddingSchema, request.body);
  nameWithoutEffect(reply, namesWithoutEffect(embeddingFields, fields));
  using use = await useModel(context, request, isBlank(fields.model) ? null : fields.model);
  const { model } = use;
  const { vectors, promptTokens } = await embedded(context, request, model, {
    inputs: plainInputs(fields.input, 'input', limits.embeddingInputsMax),
    inputField: 'input',
    pooling: fields.pooling === '' ? null : (fields.pooling ?? null),
    dimensions: fields.dimensions ?? null,
    isNormalised: fields.normalize ?? true,
    isTruncated: fields.truncate ?? false,
    timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
  });
  const isBase64 = fields.encoding_format === 'base64';
  return {
    object: 'list',
    data: vectors.map((vector, index) => ({
      object: 'embedding',
      index,
      embedding: isBase64 ? base64Of(vector) : [...vector],
    })),
    model: model.id,
    usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
  };
}

const base64Of = (vector: Float32Array): string =>
  Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');

async function rerank(context: ApiContext, request: FastifyRequest, reply: FastifyReply): Promise<object> {
  const fields = parseBody(rerankSchema, request.body);
  nameWithoutEffect(reply, namesWithoutEffect(rerankFields, fields));
  using use = await useModel(context, request, isBlank(fields.model) ? null : fields.model);
  const { model } = use;
  const { query, documents } = fields;
  if (query == null) throw invalid('query', 'expected a text');
  if (documents == null) throw invalid('documents', 'expected an array of texts');
  const { poolings, isEncoder } = model.engine.model;
  // What continues texts was taught to score by a template.
  if (!poolings.includes('rank') || (!isEncoder && model.prompts.rerankText('', '') === null))
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'This model does not score documents; serve a reranker, such as bge-reranker or Qwen3-Reranker.',
      { param: 'model' },
    );
  const texts = documents.map((document) => (typeof document === 'string' ? document : document.text));
  const { vectors, promptTokens } = await embedded(context, request, model, {
    inputs: texts.map((text) => ({ kind: 'tokens', tokens: rankedTokens(model, query, text) })),
    inputField: 'documents',
    pooling: 'rank',
    dimensions: null,
    isNormalised: false,
    isTruncated: false,
    timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
  });
  const results = vectors
    .map((vector, index) => ({
      index,
      relevance_score: vector[0] ?? 0,
      ...(fields.return_documents === true ? { document: { text: texts[index] } } : {}),
    }))
    .sort((a, b) => b.relevance_score - a.relevance_score)
    .slice(0, fields.top_n ?? Infinity);
  return {
    model: model.id,
    object: 'list',
    usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
    results,
  };
}

/** By the template of the model, or as a pair. */
function rankedTokens(model: ServedModel, query: string, document: string): Int32Array {
  const text = model.prompts.rerankText(query, document);
  return text === null ? pairTokens(model, query, document) : model.prompts.tokens(text);
}

/** A question and a document in one text, as llama-server puts them (`format_prompt_rerank` in server-common.cpp). */
function pairTokens({ vocabulary }: ServedModel, query: string, document: string): Int32Array {
  const { bos, eos, addsBos, addsEos, separator } = vocabulary;
  const [first, second] = [query, document].map((text) =>
    vocabulary.tokenize(text, { addSpecial: false, parseSpecial: false }),
  );
  const end = addsEos && eos !== null ? [eos] : [];
  return Int32Array.from([
    ...(addsBos && bos !== null ? [bos] : []),
    ...(first ?? []),
    ...end,
    ...(separator === null ? [] : [separator]),
    ...(second ?? []),
    ...end,
  ]);
}
