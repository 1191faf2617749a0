import { SplitModel } from '@butterfly/stage';
import { type Oracle, openOracle } from '@butterfly/testkit';
import { promptOf } from './models.js';
import { median } from './load/statistics.js';

const prefillTokens = 512;
const decodeTokens = 128;
const contextTokens = 1024;

export interface OneStreamSpeeds {
  readonly prefillPerSecond: number;
  readonly decodePerSecond: number;
}

export interface OneProcessResult {
  readonly threads: number;
  readonly butterfly: OneStreamSpeeds;
  readonly llamaCpp: OneStreamSpeeds;
  readonly prefillRatio: number;
  readonly decodeRatio: number;
  readonly runs: {
    readonly butterfly: readonly OneStreamSpeeds[];
    readonly llamaCpp: readonly OneStreamSpeeds[];
  };
}

/** Prefill and decode of one stage in this process beside node-llama-cpp in this process, turn by turn. */
export async function measureOneProcess(
  path: string,
  threads: number,
  repeats: number,
): Promise<OneProcessResult> {
  using model = await SplitModel.load(path, { stages: 1, threads, contextTokens });
  await using oracle = await openOracle(path, { threads, contextTokens });
  const butterfly: OneStreamSpeeds[] = [];
  const llamaCpp: OneStreamSpeeds[] = [];
  // The first round of each warms up and does not count.
  for (let round = 0; round <= repeats; round++) {
    const ours = await runButterfly(model);
    const theirs = await runLlamaCpp(oracle);
    if (round === 0) continue;
    butterfly.push(ours);
    llamaCpp.push(theirs);
  }
  const [a, b] = [medianSpeeds(butterfly), medianSpeeds(llamaCpp)];
  return {
    threads,
    butterfly: a,
    llamaCpp: b,
    prefillRatio: a.prefillPerSecond / b.prefillPerSecond,
    decodeRatio: a.decodePerSecond / b.decodePerSecond,
    runs: { butterfly, llamaCpp },
  };
}

async function runButterfly(model: SplitModel): Promise<OneStreamSpeeds> {
  const startedMs = performance.now();
  await model.run(promptOf(prefillTokens), 0);
  const prefillMs = performance.now() - startedMs;
  const first = await model.run(promptOf(1), 0);
  let token = first.likeliest;
  const decodeStartedMs = performance.now();
  for (let position = 1; position <= decodeTokens; position++)
    token = (await model.run([token], position)).likeliest;
  return speeds(prefillMs, performance.now() - decodeStartedMs);
}

async function runLlamaCpp(oracle: Oracle): Promise<OneStreamSpeeds> {
  const prefillMs = await oracle.timePrefill(promptOf(prefillTokens));
  return speeds(prefillMs, await oracle.timeDecode(promptOf(1), decodeTokens));
}

function speeds(prefillMs: number, decodeMs: number): OneStreamSpeeds {
  return {
    prefillPerSecond: (prefillTokens * 1000) / prefillMs,
    decodePerSecond: (decodeTokens * 1000) / decodeMs,
  };
}

function medianSpeeds(runs: readonly OneStreamSpeeds[]): OneStreamSpeeds {
  return {
    prefillPerSecond: median(runs.map((r) => r.prefillPerSecond)),
    decodePerSecond: median(runs.map((r) => r.decodePerSecond)),
  };
}
