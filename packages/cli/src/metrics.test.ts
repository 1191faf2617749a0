import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import type { ClusterDescription } from '@butterfly/orchestrator';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Folder } from './testing/models.js';
import {
  deployed,
  deployedExpressions,
  hasPrometheus,
  Prometheus,
  promtool,
  type Scrape,
  scrapeUntil,
} from './testing/prometheus.js';
import { Server } from './testing/server.js';

if (!hasPrometheus)
  console.warn('Without prometheus (Debian: prometheus) nothing shows that it takes what is measured.');

/** What clients counted of requests for texts. */
const counted = {
  requests: 0,
  answers: 0,
  promptTokens: 0,
  outputTokens: 0,
  embeddedTokens: 0,
  seenPieces: 0,
};

function count({ usage, choices }: OpenAI.Completion, answers = choices.length): void {
  counted.requests += 1;
  counted.answers += answers;
  counted.promptTokens += usage?.prompt_tokens ?? 0;
  counted.outputTokens += usage?.completion_tokens ?? 0;
}

const asked = (server: Server, prompt: string, maxTokens: number) => {
  return { model: server.modelName, prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true };
};

async function whole(server: Server, prompt: string, n = 1): Promise<void> {
  count(await server.openai.completions.create({ ...asked(server, prompt, 30), n }));
}

async function streamed(server: Server, prompt: string, onPiece?: (pieces: number) => void): Promise<void> {
  const options = { stream: true, stream_options: { include_usage: true } } as const;
  let pieces = 0;
  for await (const chunk of await server.openai.completions.create({
    ...asked(server, prompt, 200),
    ...options,
  }))
    if (chunk.usage) count(chunk, 1);
    else onPiece?.(++pieces);
}

/** Of another route than all others, so that its tokens, of which it is told none, are apart. */
async function cancelled(server: Server): Promise<void> {
  const messages = [{ role: 'user' as const, content: 'Tell me of light.' }];
  const wanted = { model: server.modelName, messages, max_tokens: 1500, stream: true } as const;
  const stream = await server.openai.chat.completions.create(wanted);
  for await (const { choices } of stream) {
    counted.seenPieces += choices[0]?.delta.content ? 1 : 0;
    if (counted.seenPieces >= 5) break;
  }
}

async function load(server: Server): Promise<void> {
  const victim = server.stages.at(-1)?.pid ?? 0;
  let isHit = false;
  const kill = (pieces: number): void => {
    if (pieces >= 20 && !isHit) isHit = process.kill(victim, 'SIGKILL');
  };
  const { openai, modelName: model } = server;
  const refused = openai.completions.create({ model, prompt: 'The', temperature: -1 });
  await Promise.all([
    expect(refused).rejects.toMatchObject({ status: 400 }),
    cancelled(server),
    ...['The', 'A neural', 'Layers', 'tensor', 'Light'].map((prompt) => streamed(server, prompt, kill)),
    ...['Once', 'upon', 'a time'].map((prompt) => whole(server, prompt)),
    whole(server, 'Two', 2),
    openai.embeddings.create({ model, input: ['one', 'two'] }).then(({ usage }) => {
      counted.embeddedTokens += usage.prompt_tokens;
    }),
  ]);
  expect(isHit).toBe(true);
}

let server: Server;
let prometheus: Prometheus | null = null;
let scrape: Scrape;
beforeAll(async () => {
  server = await new Server(['--workers', '2', '--stages', '2', '--ctx', '2048', '--parallel', '4']).ready();
  if (hasPrometheus) prometheus = await Prometheus.start(new URL(server.url).host, server.token);
  await load(server);
  await server.until('two stages again', () => (server.stages.length === 2 ? true : null));
  scrape = await scrapeUntil(
    server.url,
    (each) =>
      each.sum('butterfly_ready') === 1 &&
      each.sum('butterfly_stage_layers') === 4 &&
      each.sum('butterfly_streams_broken_total') === 1 &&
      each.sum('butterfly_http_requests_total', { method: 'POST' }) === 12,
  );
});
afterAll(async () => {
  await prometheus?.[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

describe('what is counted across the loss of a worker', () => {
  it('are the requests of the clients, by status', () => {
    const status = (route: string, code: number): number =>
      scrape.sum('butterfly_http_requests_total', { method: 'POST', route, status: String(code) });
    expect(status('/v1/completions', 200)).toBe(counted.requests);
    expect(status('/v1/completions', 400)).toBe(1);
    expect(status('/v1/embeddings', 200)).toBe(1);
    expect(status('/v1/chat/completions', 200)).toBe(1);
    expect(scrape.sum('butterfly_request_errors_total', { code: 'REQUEST_INVALID' })).toBe(1);
    expect(scrape.sum('butterfly_request_errors_total', { code: 'CANCELLED' })).toBe(1);
    expect(scrape.sum('butterfly_request_errors_total')).toBe(2);
    const ended = 'gen_ai_server_request_duration_seconds_count';
    expect(scrape.sum(ended)).toBe(counted.requests + 3);
    expect(scrape.sum(ended, { error_type: 'CANCELLED', gen_ai_operation_name: 'chat' })).toBe(1);
  });

  it('are the tokens that their usage told', () => {
    const tokens = (operation: string, type: string): number =>
      scrape.sum('gen_ai_client_token_usage_sum', {
        ...{
          gen_ai_operation_name: operation,
          gen_ai_token_type: type,
          gen_ai_request_model: server.modelName,
        },
      });
    expect(tokens('text_completion', 'input')).toBe(counted.promptTokens);
    expect(tokens('text_completion', 'output')).toBe(counted.outputTokens);
    expect(tokens('embeddings', 'input')).toBe(counted.embeddedTokens);
    const generated = scrape.sum('vllm:generation_tokens_total', { model_name: server.modelName });
    expect(generated - counted.outputTokens).toBeGreaterThanOrEqual(counted.seenPieces);
    expect(scrape.sum('butterfly_key_tokens_total', { key: 'none', type: 'input' })).toBe(
      counted.promptTokens + counted.embeddedTokens + tokens('chat', 'input'),
    );
  });

  it('are answers that end once, and begin again where they had to', () => {
    const ends = (reason: string): number => scrape.sum('butterfly_sequences_ended_total', { reason });
    expect([ends('length'), ends('embedding'), ends('cancelled')]).toEqual([counted.answers, 2, 1]);
    expect(scrape.sum('butterfly_sequences_ended_total')).toBe(counted.answers + 3);
    expect(scrape.sum('butterfly_replays_total')).toBeGreaterThanOrEqual(1);
    expect(scrape.sum('vllm:num_requests_running') + scrape.sum('vllm:num_requests_waiting')).toBe(0);
    expect(scrape.sum('vllm:kv_cache_usage_perc')).toBe(0);
  });

  it('is one loss and one recovery, and whoever is gone has no series', async () => {
    expect(scrape.sum('butterfly_workers_joined_total')).toBe(3);
    expect(scrape.sum('butterfly_workers_left_total', { how: 'lost' })).toBe(1);
    expect(scrape.sum('butterfly_workers_left_total', { how: 'orderly' })).toBe(0);
    expect(scrape.sum('butterfly_local_workers_ended_total')).toBe(1);
    expect(scrape.sum('butterfly_recovery_duration_seconds_count', { cause: 'worker_lost' })).toBe(1);
    const { workers } = (await (await fetch(`${server.url}/cluster`)).json()) as ClusterDescription;
    const named = new Set(scrape.samples.flatMap(({ labels }) => labels.worker_id ?? []));
    expect([...named].sort()).toEqual(workers.map(({ workerId }) => workerId).sort());
  });
});

it('has each alert in docs/metrics.md, and a test of it beside the rules', () => {
  const alerts = [...deployedExpressions().alerts.keys()];
  const named = (path: string, pattern: RegExp): (string | undefined)[] =>
    [...readFileSync(path, 'utf8').matchAll(pattern)].map(([, name]) => name);
  expect(named(deployed('../docs/metrics.md'), /^\| (Butterfly\w+) /gmu)).toEqual(alerts);
  const tested = new Set(named(deployed('prometheus/butterfly.rules.test.yml'), /alertname: (\w+)/gu));
  expect([...tested].sort()).toEqual(alerts.toSorted());
});

describe.skipIf(!hasPrometheus)('Prometheus', () => {
  it('scrapes it, and has the values that it gave', async () => {
    const tokens = scrape.sum('vllm:generation_tokens_total');
    await prometheus?.until('sum(vllm:generation_tokens_total)', tokens);
    await prometheus?.until('up', 1);
    await prometheus?.until('sum(butterfly_workers_left_total{how="lost"})', 1);
  });

  it('understands every expression of the dashboard and of the alerts, and all that they name is there', async () => {
    const { alerts, panels } = deployedExpressions();
    expect([alerts.size > 5, panels.length > 50]).toEqual([true, true]);
    const known = scrape.names;
    for (const expression of [...alerts.values(), ...panels]) {
      // Labels have no colon, and stand where names of metrics do not.
      const bare = expression.replaceAll(/\b(?:by|on) \([^)]*\)|\{[^}]*\}/gu, '');
      const named = bare.match(/\b(?:butterfly_|vllm:|gen_ai_|up\b)[\w:]*/gu) ?? [];
      expect(named, expression).not.toEqual([]);
      expect(
        named.filter((name) => name !== 'up' && !known.has(name)),
        expression,
      ).toEqual([]);
      await expect(prometheus?.ask(expression), expression).resolves.toBeDefined();
    }
  });

  it('has nothing to say against names and types but the colons of vLLM', () => {
    const { said } = promtool(['check', 'metrics'], '.', scrape.text);
    const complaints = said.split('\n').filter((line) => line !== '');
    expect(complaints.length).toBeGreaterThan(0);
    expect(
      complaints.filter((line) => !/^vllm:\w+ metric names should not contain ':'$/u.test(line)),
    ).toEqual([]);
  });

  it('takes the configuration and the rules, each of which fires when it should', () => {
    using folder = new Folder();
    cpSync(deployed('prometheus'), folder.path, { recursive: true });
    writeFileSync(`${folder.path}/butterfly.key`, 'bfk-of-an-administrator\n');
    for (const args of [
      ['check', 'config', 'prometheus.yml'],
      ['test', 'rules', 'butterfly.rules.test.yml'],
    ])
      expect(promtool(args, folder.path)).toMatchObject({ status: 0 });
  });
});
