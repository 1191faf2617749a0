import { readFileSync } from 'node:fs';
import { ButterflyError, type ButterflyEvent, limits } from '@butterfly/common';
import { SimulatedClock } from '@butterfly/testkit';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import type { Metrics } from './metrics-page.js';
import { openMetrics } from './open-metrics.js';
import { PrometheusMetrics } from './prometheus-metrics.js';

interface Measured {
  readonly metrics: Metrics;
  readonly clock: SimulatedClock;
  /** Tells events of a model. */
  readonly tell: (...events: readonly ButterflyEvent[]) => void;
  /** The value of a series as a page has it; null where there is none. */
  readonly value: (series: string) => Promise<number | null>;
}

async function measured(): Promise<Measured> {
  const clock = new SimulatedClock();
  const metrics = await openMetrics({ version: '1.2.3', clock, isOfProcess: false });
  return {
    ...{ metrics, clock },
    tell: (...events) => {
      for (const event of events) metrics.observe({ modelId: 'm', ...event });
    },
    value: async (series) => {
      const { text } = await metrics.page();
      const line = text.split('\n').find((each) => each.startsWith(`${series} `));
      return line === undefined ? null : Number(line.slice(series.length + 1));
    },
  };
}

const route = 'POST /v1/chat/completions';
const arrived = (requestId: string): ButterflyEvent => ({ kind: 'requestArrived', requestId, route });
const begun = (requestId: string, tenant: string | null = null): ButterflyEvent => ({
  ...{ kind: 'requestBegun', requestId, tenant, isStream: true, promptTokens: 7 },
});
const ended = (requestId: string): ButterflyEvent => ({
  ...{
    kind: 'requestEnded',
    requestId,
    completionId: requestId,
    totalMs: 1,
    promptTokens: 7,
    outputTokens: 3,
  },
});
const sent = (requestId: string, status = 200): ButterflyEvent => ({
  ...{ kind: 'responseSent', requestId, method: 'POST', route: '/v1/chat/completions', status, elapsedMs: 1 },
});
const queued = (sequenceId: number, requestId: string | null = null): ButterflyEvent => ({
  ...{ kind: 'sequenceQueued', sequenceId, requestId, promptTokens: 7 },
});
const step = (sequenceId: number, guesses = 0, elapsedMicros = 0): ButterflyEvent => ({
  ...{ kind: 'stepDone', replica: 1, stepId: 1, rows: 1 + guesses, elapsedMicros },
  ...{ parts: [{ sequenceId, positionStart: 0, rows: 1 + guesses, guesses }] },
  ...{ stageTimes: [{ computeMicros: 4000, hostMicros: 500 }], scheduleMicros: 30, completeMicros: 20 },
});
const came = (sequenceId: number, tokens = 1): ButterflyEvent => ({ kind: 'tokensCame', sequenceId, tokens });
const live = (epoch: number, ...workers: readonly string[]): ButterflyEvent => ({
  ...{ kind: 'planLive', replica: 1, epoch },
  stages: workers.map((workerId, index) => ({ workerId, layerStart: index, layerEnd: index + 1 })),
});
const retired = (epoch: number): ButterflyEvent => ({ kind: 'planRetired', replica: 1, epoch });
const joined = (workerId: string): ButterflyEvent => ({
  ...{ kind: 'workerJoined', workerId, name: `name-${workerId}`, memoryBytes: 1, threads: 1 },
});
const left = (workerId: string): ButterflyEvent => ({
  ...{ kind: 'workerLeft', workerId, name: `name-${workerId}`, isOrderly: false, reason: 'silence' },
});

const chat = 'gen_ai_operation_name="chat",gen_ai_request_model="m"';

describe('a request', () => {
  it('is measured from its arrival to its first token and to its end', async () => {
    const { clock, tell, value } = await measured();
    tell(arrived('r'), queued(1, 'r'), begun('r'));
    await clock.advance(40);
    tell(step(1, 0, 10_000), came(1));
    await clock.advance(200);
    tell(step(1), came(1, 2), {
      kind: 'sequenceEnded',
      sequenceId: 1,
      reason: 'stop',
      cachedPromptTokens: 5,
    });
    tell(ended('r'));
    await clock.advance(60);
    tell(sent('r'));
    expect(await value(`gen_ai_server_time_to_first_token_seconds_sum{${chat}}`)).toBeCloseTo(0.04);
    expect(await value(`gen_ai_server_request_duration_seconds_sum{${chat}}`)).toBeCloseTo(0.3);
    expect(await value('vllm:request_queue_time_seconds_sum{model_name="m"}')).toBeCloseTo(0.03);
    const perToken = 'gen_ai_server_time_per_output_token_seconds_sum{gen_ai_request_model="m"}';
    expect(await value(perToken)).toBeCloseTo(0.1);
    const [input, output] = ['input', 'output'].map(
      (type) => `gen_ai_client_token_usage_sum{${chat},gen_ai_token_type="${type}"}`,
    );
    expect([await value(input ?? ''), await value(output ?? '')]).toEqual([7, 3]);
    expect(await value('vllm:prompt_tokens_total{model_name="m"}')).toBe(7);
    expect(await value('vllm:generation_tokens_total{model_name="m"}')).toBe(3);
    expect(await value('vllm:prefix_cache_hits_total{model_name="m"}')).toBe(5);
  });

  it('whose client went away counts with its error, and one in the background to its own end', async () => {
    const { clock, tell, value } = await measured();
    const error = new ButterflyError('CANCELLED', 'Nobody reads.');
    tell(arrived('gone'), begun('gone'), sent('gone'), ended('gone'));
    tell({ kind: 'streamBroken', requestId: 'gone', isClientGone: true, error });
    tell(arrived('later'), begun('later'), sent('later'));
    await clock.advance(5_000);
    tell(ended('later'));
    await clock.advance(0);
    const duration = 'gen_ai_server_request_duration_seconds';
    expect(await value(`${duration}_count{${chat},error_type="CANCELLED"}`)).toBe(1);
    expect(await value(`${duration}_sum{${chat}}`)).toBeCloseTo(5);
    expect(await value('butterfly_streams_broken_total{by="client"}')).toBe(1);
  });

  it('that is refused has its code, and a method that nobody has is no series of its own', async () => {
    const { tell, value } = await measured();
    const error = new ButterflyError('QUEUE_FULL', 'Too many.');
    tell(arrived('r'));
    tell(
      { kind: 'requestFailed', requestId: 'r', method: 'POST', path: '/', status: 429, error },
      sent('r', 429),
    );
    const strange = { requestId: 's', method: 'PROPFIND', route: null, status: 404, elapsedMs: 1 };
    tell({ kind: 'responseSent', ...strange });
    expect(await value('butterfly_request_errors_total{code="QUEUE_FULL"}')).toBe(1);
    const all = 'butterfly_http_requests_total';
    expect(await value(`${all}{method="POST",route="/v1/chat/completions",status="429"}`)).toBe(1);
    expect(await value(`${all}{method="other",route="none",status="404"}`)).toBe(1);
  });

  it('is counted for its key, as far as there are few keys', async () => {
    const { tell, value } = await measured();
    const keys = Array.from({ length: limits.metricKeysMax + 3 }, (_, index) => `key${index}`);
    for (const key of [...keys, ...keys]) tell(arrived(key), begun(key, key), ended(key), sent(key));
    expect(await value('butterfly_key_requests_total{key="key0",model="m"}')).toBe(2);
    expect(await value(`butterfly_key_requests_total{key="${keys.at(-1) ?? ''}",model="m"}`)).toBeNull();
    expect(await value('butterfly_key_requests_total{key="other",model="m"}')).toBe(6);
    expect(await value('butterfly_key_tokens_total{key="other",model="m",type="output"}')).toBe(18);
  });
});

describe('steps', () => {
  it('count guesses, and those of them that came true', async () => {
    const { tell, value } = await measured();
    tell(queued(1), step(1), came(1), step(1, 4), came(1, 3), step(1, 2), came(1), step(1), came(1, 1));
    expect(await value('vllm:spec_decode_num_draft_tokens_total{model_name="m"}')).toBe(6);
    expect(await value('vllm:spec_decode_num_accepted_tokens_total{model_name="m"}')).toBe(2);
    expect(await value('butterfly_step_rows_sum{model="m"}')).toBe(10);
  });

  it('are the time of the workers of the plan, whose series go with them', async () => {
    const { tell, value } = await measured();
    const busy = (id: string): string =>
      `butterfly_stage_compute_seconds_total{model="m",worker="name-${id}",worker_id="${id}"}`;
    tell(joined('w1'), joined('w2'), live(1, 'w1'), queued(1), step(1), step(1));
    expect(await value(busy('w1'))).toBeCloseTo(0.008);
    // A result that was on its way comes after its loss.
    tell(left('w1'), step(1));
    expect([await value(busy('w1')), await value(busy('w2'))]).toEqual([null, null]);
    tell(retired(1), live(2, 'w2'), step(1));
    expect(await value(busy('w2'))).toBeCloseTo(0.004);
  });
});

describe('a loss', () => {
  it('is a recovery of its length, and a replay of each sequence that had begun', async () => {
    const { clock, tell, value } = await measured();
    expect(await value('butterfly_workers_left_total{how="lost"}')).toBe(0);
    tell(joined('w1'), joined('w2'), live(1, 'w1'), queued(1), queued(2), queued(3), step(1), step(2));
    tell(left('w1'), retired(1));
    await clock.advance(700);
    tell(live(2, 'w2'), step(1), step(1), step(2), step(3));
    const recovery = (cause: string): string =>
      `butterfly_recovery_duration_seconds_sum{model="m",cause="${cause}"}`;
    expect(await value('butterfly_workers_left_total{how="lost"}')).toBe(1);
    expect(await value('butterfly_replays_total{model="m"}')).toBe(2);
    expect(await value(recovery('worker_lost'))).toBeCloseTo(0.7);
    // Nobody is lost where another plan is better.
    tell(retired(2));
    await clock.advance(100);
    tell(live(3, 'w2'));
    expect(await value(recovery('other'))).toBeCloseTo(0.1);
    expect(await value('butterfly_plans_live_total{model="m"}')).toBe(3);
  });
});

describe('a page', () => {
  it('is in the format that its reader takes, and each format stays what it is', async () => {
    const { metrics } = await measured();
    const prometheus =
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
    const before = await metrics.page();
    const open = await metrics.page(prometheus);
    expect(open.contentType).toMatch(/^application\/openmetrics-text; version=1\.0\.0/u);
    expect(open.text).toMatch(
      /^# TYPE butterfly_workers_joined counter\nbutterfly_workers_joined_total 0$/mu,
    );
    expect(open.text).toMatch(/\n# EOF\n$/u);
    for (const accept of [undefined, '*/*', 'text/plain', 'application/openmetrics-text;q=0, text/plain'])
      expect(await metrics.page(accept)).toEqual(before);
    expect(before.contentType).toMatch(/^text\/plain; version=0\.0\.4/u);
    expect(before.text).toMatch(/^# TYPE butterfly_workers_joined_total counter$/mu);
  });

  it('has when the certificate ends, and nothing where there is none', async () => {
    const { metrics, tell, value } = await measured();
    const series = 'butterfly_certificate_expiry_timestamp_seconds{of="api"}';
    expect(await value(series)).toBeNull();
    metrics.certificateEnds(1_800_000_000_000);
    expect(await value(series)).toBe(1.8e9);
    tell({ kind: 'certificateReplaced', expiresAt: 'Jan  1 00:00:00 2030 GMT' });
    expect(await value(series)).toBe(Date.UTC(2030, 0) / 1000);
  });
});

it('docs/metrics.md lists every metric as it is, and no other', () => {
  const registry = new Registry();
  const wishes = { version: '1.2.3', clock: new SimulatedClock(), isOfProcess: true };
  expect(new PrometheusMetrics(wishes, registry)).toBeDefined();
  const rows = registry.getMetricsAsArray().map((metric) => {
    const { name, type, help, labelNames } = metric as unknown as Record<string, string> & {
      readonly labelNames: readonly string[];
    };
    return [name, type, labelNames.join(', '), help];
  });
  // What is known of a process differs between systems.
  const isOfSystem = (name: string | undefined): boolean =>
    /^butterfly_(?:process|nodejs)_/u.test(name ?? '') && process.platform !== 'linux';
  const page = readFileSync(new URL('../../../../docs/metrics.md', import.meta.url), 'utf8');
  const documented = [...page.matchAll(/^\| `([^`]+)` *\| (\w+) *\| ([^|]*?) *\| (.+?) *\|$/gmu)].map(
    ([, ...cells]) => cells,
  );
  const sorted = (all: readonly (readonly (string | undefined)[])[]) =>
    all.filter(([name]) => !isOfSystem(name)).toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1));
  expect(sorted(documented)).toEqual(sorted(rows));
});
