import type { ResponseHead } from '../answers/dialect.js';
import { systemClock } from '@butterfly/common';
import { AnswerCollector, type GenerationSpec, type OutputEvent } from '@butterfly/generation';
import Fastify from 'fastify';
import { Responses } from '../responses/memory.js';
import { parseResponseRequest } from '../responses/parse.js';

/** The dialect over HTTP with a script in place of a model, so that it says whatever a model might. */
export interface ScriptedResponses extends AsyncDisposable {
  readonly baseURL: string;
  /** What was asked for, in order. */
  readonly specs: GenerationSpec[];
}

/** What is said in one answer, without its end. */
export type Line =
  | { readonly kind: 'text' | 'reasoning'; readonly text: string }
  | {
      readonly kind: 'call';
      readonly id: string;
      readonly name: string;
      readonly arguments: readonly string[];
    };

/** The events of an answer that says these lines. */
export function eventsFor(lines: readonly Line[], reason?: 'length'): readonly OutputEvent[] {
  let call = 0;
  const said = lines.flatMap((line): OutputEvent[] => {
    if (line.kind !== 'call') return [{ kind: line.kind, choice: 0, text: line.text }];
    const at = call++;
    return [
      { kind: 'toolStart', choice: 0, call: at, id: line.id, name: line.name },
      ...line.arguments.map((text) => ({ kind: 'toolArguments', choice: 0, call: at, text }) as const),
    ];
  });
  const usage = { promptTokens: 7, outputTokens: 5, cachedPromptTokens: 3, reasoningTokens: 2 };
  return [
    ...said,
    { kind: 'finish', choice: 0, reason: reason ?? (call > 0 ? 'toolCalls' : 'stop'), stop: null },
    { kind: 'usage', usage, timing: { queuedMs: 0, firstTokenMs: 1, totalMs: 2 } },
  ];
}

export async function startScripted(
  script: (spec: GenerationSpec, turn: number) => readonly OutputEvent[],
): Promise<ScriptedResponses> {
  const app = Fastify();
  const responses = new Responses(systemClock);
  const specs: GenerationSpec[] = [];
  app.post('/v1/responses', (request, reply) => {
    const { spec, stream, encoding } = parseResponseRequest(request.body, responses);
    const events = script(spec, specs.length);
    specs.push(spec);
    const head: ResponseHead = {
      id: encoding.newId(),
      createdS: 1_700_000_000,
      model: 'scripted',
      requestId: request.id,
      promptTokens: 7,
    };
    if (stream) {
      const encoder = encoding.stream(head);
      const text = events.map((event) => encoder.encode(event)).join('');
      return reply.header('content-type', encoding.form.contentType).send(text);
    }
    const collector = new AnswerCollector();
    for (const event of events) collector.take(event);
    return reply.send(encoding.whole(head, collector.whole()));
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    baseURL: `${url}/v1`,
    specs,
    async [Symbol.asyncDispose]() {
      await app.close();
    },
  };
}
