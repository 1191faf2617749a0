import { z } from 'zod';
import { answer } from '../answers/answer.js';
import { requireModel } from '../answers/models.js';
import type { ApiContext } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { parseBody } from '../fields/parse-body.js';
import { loadedAnswer } from './encoding.js';
import { apiVersion, runningEntry, showEntry, tagEntry } from './model-entries.js';
import { type OllamaRequest, modelName, parseChat, parseGenerate } from './parse.js';

const showSchema = z.looseObject({ model: z.string().nullish(), name: z.string().nullish() });

export function addOllamaRoutes(add: AddRoute, context: ApiContext): void {
  const addAnswers = (url: string, parse: (body: unknown) => OllamaRequest) => {
    add('POST', url, (request, reply) => {
      const { model, asked } = parse(request.body);
      if (asked !== null) return answer(context, reply, asked);
      return loadedAnswer(requireModel(context, model).id, url === '/api/chat');
    });
  };
  addAnswers('/api/chat', parseChat);
  addAnswers('/api/generate', parseGenerate);
  add('GET', '/api/version', () => ({ version: apiVersion }));
  add('GET', '/api/tags', () => ({ models: [tagEntry(context.model)] }));
  add('GET', '/api/ps', () => ({ models: [runningEntry(context.model)] }));
  add('POST', '/api/show', (request) => {
    const { model, name } = parseBody(showSchema, request.body);
    return showEntry(requireModel(context, modelName(model ?? name)));
  });
}
