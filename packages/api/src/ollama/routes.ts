import { ButterflyError, deadlines, limits } from '@butterfly/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { answer } from '../answers/answer.js';
import { nameWithoutEffect } from '../answers/no-effect.js';
import { embedded } from '../embeddings/routes.js';
import { namesWithoutEffect, shapeOf } from '../fields/field-kinds.js';
import { plainInputs } from '../fields/plain-inputs.js';
import { embedFields } from './fields.js';
import { keepMsOf } from './keep-alive.js';
import { requireModel, useModel } from '../answers/models.js';
import type { ApiServing } from '../answers/resumable-answers.js';
import { visitOf } from '../access/visit.js';
import type { ApiContext, OfferedModel } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { parseBody } from '../fields/parse-body.js';
import { loadedAnswer } from './encoding.js';
import { apiVersion, runningEntry, showEntry, tagEntry } from './model-entries.js';
import { type OllamaRequest, modelName, parseChat, parseGenerate } from './parse.js';

const embedSchema = z.strictObject(shapeOf(embedFields));
const showSchema = z.looseObject({ model: z.string().nullish(), name: z.string().nullish() });

export function addOllamaRoutes(add: AddRoute, context: ApiServing): void {
  const listed = (request: FastifyRequest): readonly OfferedModel[] =>
    context.models.list().filter(({ id }) => visitOf(request).mayUse(id));
  const addOllamaAnswers = (url: string, parse: (body: unknown) => OllamaRequest) => {
    context.resumables.reads(url, (body) => {
      const { asked } = parse(body);
      if (asked) return asked;
      throw new ButterflyError('REQUEST_INVALID', 'There is nothing to answer.');
    });
    add('POST', url, (request, reply) => {
      const { model, keepMs, asked } = parse(request.body);
      if (asked !== null) return answer(context, reply, asked);
      return loadOrUnload(context, request, { model, keepMs, isChat: url === '/api/chat' });
    });
  };
  addOllamaAnswers('/api/chat', parseChat);
  addOllamaAnswers('/api/generate', parseGenerate);
  add('POST', '/api/embed', (request, reply) => embed(context, request, reply));
  add('POST', '/api/embeddings', async (request, reply) => {
    const { embeddings } = await embed(context, request, reply);
    return { embedding: embeddings[0] ?? [] };
  });
  add('GET', '/api/version', () => ({ version: apiVersion }));
  add('GET', '/api/tags', (request) => ({ models: listed(request).map(tagEntry) }));
  add('GET', '/api/ps', (request) => ({
    models: listed(request)
      .filter(({ state }) => state === 'loaded')
      .map(runningEntry),
  }));
  add('POST', '/api/show', (request) => {
    const { model, name } = parseBody(showSchema, request.body);
    return showEntry(requireModel(context, request, modelName(model ?? name)));
  });
}

/** With nothing to answer a model is loaded, and with `keep_alive` 0 unloaded. */
async function loadOrUnload(
  context: ApiContext,
  request: FastifyRequest,
  asked: Pick<OllamaRequest, 'model' | 'keepMs'> & { readonly isChat: boolean },
): Promise<object> {
  const { model, keepMs, isChat } = asked;
  const { id } = requireModel(context, request, model);
  if (keepMs === 0) {
    await context.models.unload(id);
    return loadedAnswer(id, isChat, 'unload');
  }
  using _use = await useModel(context, request, id, keepMs);
  return loadedAnswer(id, isChat, 'load');
}

/** `/api/embed`; the older `/api/embeddings` has one text, as `prompt`. */
async function embed(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<{ readonly model: string; readonly embeddings: readonly number[][] }> {
  const fields = parseBody(embedSchema, request.body);
  nameWithoutEffect(reply, namesWithoutEffect(embedFields, fields));
  using use = await useModel(context, request, modelName(fields.model), keepMsOf(fields.keep_alive));
  const { model } = use;
  const startMs = context.clock.nowMs();
  const { vectors, promptTokens } = await embedded(context, request, model, {
    inputs: plainInputs(fields.input ?? fields.prompt, 'input', limits.embeddingInputsMax),
    inputField: 'input',
    pooling: null,
    dimensions: fields.dimensions ?? null,
    isNormalised: true,
    isTruncated: fields.truncate ?? true,
    timeoutMs: deadlines.requestMs,
  });
  return {
    model: model.id,
    embeddings: vectors.map((vector) => [...vector]),
    ...{
      total_duration: Math.round((context.clock.nowMs() - startMs) * 1e6),
      load_duration: 0,
      prompt_eval_count: promptTokens,
    },
  };
}
