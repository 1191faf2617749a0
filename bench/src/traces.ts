import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Cluster, createCluster } from 'butterfly';
import { median } from './load/statistics.js';
import { takeTurns } from './load/turns.js';
import { ownModel } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

const streams = 8;
/** Of each stream, one after the other. */
const requestsEach = 2;
const tokens = 96;
const warmUpRounds = 2;
/** Of a median of ratios, what else a busy machine does being in it. */
const roundsMin = 8;
const ratioMin = 0.99;
/** Until the last spans of a round are there, which are gathered for a second. */
const sentDeadlineMs = 20_000;

/** Eight streams with a trace of each request and without, in turns: two clusters in this process, and a collector that counts. */
export async function benchTraces({ model, repeats }: BenchOptions): Promise<void> {
  const rounds = warmUpRounds + Math.max(roundsMin, repeats);
  await using collector = await CountingCollector.start();
  const shape = { model: model ?? ownModel, workers: 1, threads: 1, contextTokens: 512, parallel: streams };
  await using plain = await createCluster(shape);
  await using traced = await createCluster({ ...shape, traces: collector.url });
  await Promise.all([plain.ready(), traced.ready()]);
  const { off, on } = await takeTurns(rounds, {
    off: (round) => run(plain, round, () => Promise.resolve()),
    on: (round) => run(traced, round, () => collector.until((round + 1) * streams * requestsEach)),
  });
  const [offRounds, onRounds] = [off.slice(warmUpRounds), on.slice(warmUpRounds)];
  const ratios = onRounds.map(({ perSecond }, round) => perSecond / (offRounds[round]?.perSecond ?? NaN));
  const of = (all: readonly Round[], what: keyof Round): number => median(all.map((each) => each[what]));
  const result = {
    ...{ streams, requestsEach, tokens },
    offPerSecond: of(offRounds, 'perSecond'),
    onPerSecond: of(onRounds, 'perSecond'),
    ratio: median(ratios),
    ratios,
    offCpuMs: of(offRounds, 'cpuMs'),
    onCpuMs: of(onRounds, 'cpuMs'),
    cpuMsOfTrace: median(onRounds.map(({ cpuMs }, round) => cpuMs - (offRounds[round]?.cpuMs ?? NaN))),
    bytesPerTrace: collector.bytes / collector.traces,
  };
  printTable(
    `Traces on against off, medians of ${ratios.length} rounds: ${streams} streams; CPU of this process for each request`,
    [
      'off tok/s',
      'on tok/s',
      'ratio',
      'to reach',
      'off CPU ms',
      'on CPU ms',
      'CPU ms of a trace',
      'bytes of a trace',
    ],
    [
      [
        ...[result.offPerSecond, result.onPerSecond, result.ratio, ratioMin],
        ...[result.offCpuMs, result.onCpuMs, result.cpuMsOfTrace, result.bytesPerTrace],
      ],
    ],
  );
  writeResult('traces', result);
}

interface Round {
  /** Tokens of all streams together. */
  readonly perSecond: number;
  /** Of orchestrator, API, client and, with traces, collector together, for each request. */
  readonly cpuMs: number;
}

async function run({ fetch }: Cluster, round: number, sent: () => Promise<void>): Promise<Round> {
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: streams }, async (_, stream) => {
      for (let each = 0; each < requestsEach; each += 1) await readStream(fetch, [round, stream, each]);
    }),
  );
  const seconds = (performance.now() - startedMs) / 1000;
  await sent();
  const { user, system } = process.cpuUsage(cpuBefore);
  const requests = streams * requestsEach;
  return { perSecond: (requests * tokens) / seconds, cpuMs: (user + system) / 1000 / requests };
}

/** Reads one stream to its end. */
async function readStream(fetch: Cluster['fetch'], numbers: readonly number[]): Promise<void> {
  const body = {
    ...{ prompt: `Story ${numbers.join(' ')} of a moth`, max_tokens: tokens, temperature: 0 },
    ...{ ignore_eos: true, stream: true },
  };
  const response = await fetch(
    new Request('http://localhost/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  );
  const text = await response.text();
  if (!response.ok || !text.endsWith('data: [DONE]\n\n')) throw new Error(text);
}

/** Takes traces and counts them by their roots, without reading them any further. */
class CountingCollector implements AsyncDisposable {
  traces = 0;
  bytes = 0;

  private constructor(private readonly server: ReturnType<typeof createServer>) {}

  static async start(): Promise<CountingCollector> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        collector.bytes += body.length;
        collector.traces += body.toString('latin1').split('"http.route"').length - 1;
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
      });
    });
    const collector = new CountingCollector(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return collector;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async until(traces: number): Promise<void> {
    const endMs = performance.now() + sentDeadlineMs;
    while (this.traces < traces) {
      if (performance.now() > endMs) throw new Error(`Of ${traces} traces, ${this.traces} came in time.`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
