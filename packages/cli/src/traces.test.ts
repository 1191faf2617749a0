import { formatApiKey, KeyFiles, keysDirectory } from '@butterfly/identity';
import { type CollectedSpan, Collector } from '@butterfly/telemetry/testing';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Folder } from './testing/models.js';
import { Server } from './testing/server.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const clientSpan = 'b7ad6b7169203331';
const traceparent = `00-${traceId}-${clientSpan}-01`;
/** Of prompts, which are nobody's business. */
const canary = 'Xylophagous beetles';

let folder: Folder;
let collector: Collector;
let server: Server;
let apiKey: string;
let openai: OpenAI;
let answer = '';
let usage: OpenAI.CompletionUsage | undefined;
let trace: readonly CollectedSpan[];

/** A long answer, in the midst of which the worker of the last stage dies. */
async function askAcrossALoss(): Promise<void> {
  const victim = server.stages.at(-1)?.pid ?? 0;
  const wanted = { model: server.modelName, prompt: `${canary} are`, max_tokens: 200, temperature: 0 };
  const stream = await openai.completions.create(
    { ...wanted, ...{ ignore_eos: true }, stream: true, stream_options: { include_usage: true } },
    { headers: { traceparent, tracestate: 'vendor=opaque' } },
  );
  let pieces = 0;
  for await (const chunk of stream) {
    answer += chunk.choices[0]?.text ?? '';
    usage = chunk.usage ?? usage;
    if (++pieces === 20) process.kill(victim, 'SIGKILL');
  }
}

beforeAll(async () => {
  folder = new Folder();
  const limits = {
    requestsPerMinute: null,
    tokensPerMinute: null,
    concurrent: null,
    models: null,
    priorityMax: 0,
  };
  const wishes = { lifeMs: null, note: '', isAdmin: false, limits };
  apiKey = formatApiKey(await new KeyFiles(keysDirectory(folder.path)).create(wishes));
  collector = await Collector.start();
  const pipeline = ['--workers', '3', '--stages', '3', '--ctx', '512'];
  server = await new Server([...pipeline, '--require-key', '--data-dir', folder.path], {
    env: { BUTTERFLY_LOG: 'debug', OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
  }).ready();
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });
  await askAcrossALoss();
  await collector.until('trace', (spans) => spans.find(({ kind }) => kind === 2) ?? null);
  trace = collector.spans.slice();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await collector[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const durationOf = ({ startNanos, endNanos }: CollectedSpan): bigint => endNanos - startNanos;
const below = ({ spanId }: CollectedSpan): CollectedSpan[] =>
  trace.filter(({ parentSpanId }) => parentSpanId === spanId);

describe('the trace of an answer that outlives a worker', () => {
  it('goes on with that of its client', () => {
    const root = trace.find(({ kind }) => kind === 2);
    expect(root).toMatchObject({
      ...{ traceId, parentSpanId: clientSpan, traceState: 'vendor=opaque' },
      name: 'POST /v1/completions',
      resource: { 'service.name': 'butterfly' },
      attributes: {
        'http.response.status_code': 200,
        'gen_ai.operation.name': 'text_completion',
        'gen_ai.request.model': server.modelName,
        'gen_ai.usage.input_tokens': usage?.prompt_tokens,
        'gen_ai.usage.output_tokens': usage?.completion_tokens,
      },
    });
    expect(new Set(trace.map((span) => span.traceId))).toEqual(new Set([traceId]));
  });

  it('has each span within the one above it, and stages that take no longer than their steps', () => {
    const byId = new Map(trace.map((span) => [span.spanId, span]));
    for (const span of trace.filter(({ kind }) => kind !== 2)) {
      const above = byId.get(span.parentSpanId ?? '');
      expect(above, `${span.name} has nothing above it`).toBeDefined();
      expect(span.startNanos >= (above?.startNanos ?? 0n), span.name).toBe(true);
      expect(span.endNanos <= (above?.endNanos ?? 0n), span.name).toBe(true);
    }
    for (const span of trace.filter(({ attributes }) => attributes['butterfly.steps'] !== undefined)) {
      const stages = below(span);
      expect(stages.map(({ name }) => name)).toEqual(stages.map(() => 'stage'));
      expect(stages.length).toBeGreaterThan(0);
      const took = stages.reduce((sum, stage) => sum + durationOf(stage), 0n);
      expect(took > 0n && took <= durationOf(span), `${span.name}: ${took} of ${durationOf(span)}`).toBe(
        true,
      );
    }
  });

  it('names three workers, the loss of one, and what was computed again', () => {
    const root = found(trace, ({ kind }) => kind === 2);
    const lives = below(root).toSorted((a, b) => Number(a.startNanos - b.startNanos));
    const names = lives.map(({ name }) => name);
    expect(names.slice(0, 3)).toEqual(['queue', 'prefill', 'decode']);
    expect(names).toContain('recovery');
    expect(names.indexOf('replay')).toBeGreaterThan(names.indexOf('recovery'));
    expect(names.at(-1)).toBe('decode');
    const recovery = lives.find(({ name }) => name === 'recovery');
    expect(recovery?.attributes['butterfly.reason']).toMatch(/ left: /);
    const stages = below(found(lives, ({ name }) => name === 'prefill'));
    expect(new Set(stages.map(({ resource }) => resource['service.instance.id'])).size).toBe(3);
    for (const { resource, attributes } of stages)
      expect(resource).toMatchObject({
        'service.name': 'butterfly-worker',
        'service.instance.id': attributes['butterfly.worker.id'],
      });
  });

  it('has nothing of prompt, answer or key', () => {
    const bodies = collector.bodies.join('\n');
    for (const secret of [canary, apiKey, answer.slice(0, 40)]) expect(bodies).not.toContain(secret);
  });
});

describe('what is said of requests elsewhere', () => {
  it('is where the time of a whole answer went', async () => {
    const body = { prompt: canary, max_tokens: 3, temperature: 0 };
    const { response } = await openai.completions.create({ model: server.modelName, ...body }).withResponse();
    expect(response.headers.get('server-timing')).toMatch(
      /^queue;dur=\d+\.\d, prefill;dur=\d+\.\d, decode;dur=\d+\.\d$/,
    );
  });

  it('is no secret in the log, whatever is wrong with a request', async () => {
    const send = async (
      path: string,
      body: unknown,
      headers: Record<string, string> = {},
    ): Promise<number> => {
      const { status } = await fetch(server.url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}`, ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      return status;
    };
    const chat = (changes: object): object => ({
      ...{ model: server.modelName, messages: [{ role: 'user', content: canary }], max_tokens: 2 },
      ...changes,
    });
    const wrongKey = `bfk-${canary}`;
    const statuses = [
      await send('/v1/chat/completions', chat({})),
      await send('/v1/chat/completions', chat({ temperature: -1 })),
      await send('/v1/chat/completions', chat({ messages: [{ role: canary, content: canary }] })),
      await send('/v1/chat/completions', chat({ messages: canary })),
      await send('/v1/chat/completions', chat({ frobnicate: canary })),
      await send('/v1/chat/completions', chat({ messages: [{ role: 'user', content: canary.repeat(900) }] })),
      await send('/v1/chat/completions', chat({ grammar: canary })),
      await send('/v1/chat/completions', chat({ response_format: { type: canary } })),
      await send('/v1/chat/completions', chat({ tools: canary, tool_choice: canary })),
      await send('/v1/responses', { input: [{ type: canary, content: canary }] }),
      await send('/v1/messages', {
        max_tokens: 2,
        messages: [{ role: 'user', content: [{ type: canary }] }],
      }),
      await send('/api/chat', { messages: [{ role: 'user', content: canary }], format: canary }),
      await send('/v1/chat/completions', `{"messages": "${canary}`),
      await send('/v1/chat/completions', canary),
      await send('/v1/completions', { prompt: canary, stop: canary, logit_bias: { one: canary } }),
      await send('/v1/embeddings', { input: [canary, 5] }),
      await send(`/v1/nothing?key=${apiKey}`, {}),
      await send(`/health?key=${apiKey}`, {}),
      await send('/v1/chat/completions', chat({}), { authorization: `Bearer ${wrongKey}` }),
    ];
    expect(statuses[0]).toBe(200);
    expect(statuses.slice(1).filter((status) => status < 400 || status >= 500)).toEqual([]);
    await server.until('log of the last', () =>
      server.stderr.filter((line) => line.includes('"event":"requestFailed"')).length >= statuses.length - 1
        ? true
        : null,
    );
    const told = server.stderr.filter((line) => line.includes('Xylophagous') || line.includes(apiKey));
    expect(told).toEqual([]);
    const ofRequests = server.stderr.filter((line) =>
      /"event":"(?:request|stream|reader|numbersFailed)/.test(line),
    );
    expect(ofRequests.filter((line) => !/"requestId":"req_\w+"/.test(line))).toEqual([]);
  });
});

/** The first that is so. */
function found<T>(all: readonly T[], isSo: (each: T) => boolean): T {
  const first = all.find(isSo);
  if (first === undefined) throw new Error('There is none.');
  return first;
}
