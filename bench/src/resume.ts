import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { freePort } from '@butterfly/testkit';
import { resumingFetch } from 'butterfly/ai';
import { median } from './load/statistics.js';
import { takeTurns } from './load/turns.js';
import { ownModel } from './models.js';
import type { BenchOptions } from './options.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';

const streams = 16;
const tokens = 96;
const warmUpRounds = 2;
/** Of a median of ratios, what else a busy machine does being in it. */
const roundsMin = 10;
const ratioMin = 0.98;
/** The server dies in the midst of a stream of so many. */
const killedStreamTokens = 400;
const killedAt = 100;
const answersEveryMs = 5;

/** What keeping requests costs, and how long a stream stands still when its orchestrator is killed and started again. */
export async function benchResume({ model, repeats }: BenchOptions): Promise<void> {
  const path = model ?? ownModel;
  const directory = await mkdtemp(join(tmpdir(), 'butterfly-bench-'));
  const port = await freePort();
  const more = ['--port', String(port), '--data-dir', directory];
  const start = (): Promise<ServeProcess> =>
    ServeProcess.start(path, { ...{ workers: 1, threads: 1, contextTokens: 1024, parallel: streams }, more });
  try {
    const cost = await measureCost(start, Math.max(roundsMin, repeats));
    const stalls = await measureStalls(start, Math.max(5, repeats));
    printTable(
      `Requests kept against not, ${streams} streams of ${tokens} tokens, medians of ${cost.ratios.length} rounds`,
      ['not kept tok/s', 'kept tok/s', 'ratio', 'to reach'],
      [[cost.plainPerSecond, cost.keptPerSecond, cost.ratio, ratioMin]],
    );
    printTable(
      `An orchestrator killed at token ${killedAt} of a stream and started again, medians of ${stalls.rounds}: milliseconds`,
      ['until it answers again', 'from then to the next token', 'all'],
      [[stalls.startMs, stalls.resumeMs, stalls.allMs]],
    );
    writeResult('resume', { streams, tokens, cost, stalls });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function measureCost(start: () => Promise<ServeProcess>, rounds: number) {
  await using server = await start();
  const { plain, kept } = await takeTurns(warmUpRounds + rounds, {
    plain: (round) => load(server.url, round, fetch),
    kept: (round) => load(server.url, round, resumingFetch()),
  });
  const [plainRounds, keptRounds] = [plain.slice(warmUpRounds), kept.slice(warmUpRounds)];
  const ratios = keptRounds.map((perSecond, round) => perSecond / (plainRounds[round] ?? NaN));
  return {
    plainPerSecond: median(plainRounds),
    keptPerSecond: median(keptRounds),
    ratio: median(ratios),
    ratios,
  };
}

/** Tokens per second of all streams together. */
async function load(url: string, round: number, ask: typeof fetch): Promise<number> {
  const startMs = performance.now();
  await Promise.all(
    Array.from({ length: streams }, async (_, stream) => {
      const text = await (await post(url, ask, `Story ${round} of moth ${stream}`, tokens)).text();
      if (!text.endsWith('data: [DONE]\n\n')) throw new Error(text);
    }),
  );
  return (streams * tokens * 1000) / (performance.now() - startMs);
}

function post(url: string, ask: typeof fetch, prompt: string, outputTokens: number): Promise<Response> {
  return ask(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ prompt, max_tokens: outputTokens, temperature: 0, ignore_eos: true, stream: true },
    }),
  });
}

/** In milliseconds. */
interface Stall {
  /** From the death to an answer of the next server. */
  readonly startMs: number;
  /** From then to the next token. */
  readonly resumeMs: number;
  readonly allMs: number;
}

async function measureStalls(start: () => Promise<ServeProcess>, rounds: number) {
  const each: Stall[] = [];
  for (let round = 0; round < rounds; round++) each.push(await measureStall(start));
  const of = (what: keyof Stall): number => median(each.map((stall) => stall[what]));
  return { rounds, startMs: of('startMs'), resumeMs: of('resumeMs'), allMs: of('allMs') };
}

async function measureStall(start: () => Promise<ServeProcess>): Promise<Stall> {
  const server = await start();
  const response = await post(server.url, resumingFetch(), 'Once upon a time', killedStreamTokens);
  const decoder = new TextDecoder();
  let [pieces, killedMs, answeredMs, heardMs] = [0, 0, 0, 0];
  let restarted: Promise<ServeProcess> | null = null;
  for await (const bytes of response.body ?? []) {
    pieces += decoder.decode(bytes as Uint8Array, { stream: true }).split('\n\n').length - 1;
    if (killedMs > 0 && heardMs === 0) heardMs = performance.now();
    if (pieces < killedAt || killedMs > 0) continue;
    killedMs = performance.now();
    await server.kill();
    restarted = start();
    void untilAnswers(server.url).then((atMs) => (answeredMs = atMs));
  }
  await (await restarted)?.[Symbol.asyncDispose]();
  return { startMs: answeredMs - killedMs, resumeMs: heardMs - answeredMs, allMs: heardMs - killedMs };
}

async function untilAnswers(url: string): Promise<number> {
  for (;;) {
    const isThere = await fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isThere) return performance.now();
    await wait(answersEveryMs);
  }
}
