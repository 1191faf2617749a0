import { successorsOf } from '@butterfly/testkit';
import { type SamplingParams, greedySampling } from '@butterfly/wire';
import { LocalCluster, type GeneratedText } from './local-cluster.js';
import { decodePerSecond } from './load/run-load.js';
import { median } from './load/statistics.js';
import { halfBillion, hybridModel, oneBillion, ownModel, type BenchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

/** Tokens after which the text of a circle is the same again. */
const circleTokens = 48;

/** Texts to go on with, one after the other. */
interface LookupCase {
  readonly text: string;
  /** Whether what follows was there before, and with that what is to be reached. */
  readonly repeats: boolean;
  readonly prompt: readonly number[];
  readonly tokens: number;
  /** How each text is drawn. */
  readonly samplings: readonly SamplingParams[];
}

interface LookupSetup {
  readonly model: BenchModel;
  readonly workers: number;
  /** Of each worker. */
  readonly threads: number;
  readonly contextTokens: number;
  /** Texts of a round, so that it takes a second at least. */
  readonly texts: number;
  /** Rounds for each that is asked for: the shorter a token, the more they scatter. */
  readonly rounds: number;
  /** A model of circles says what can be foretold, at the price of a whole model; a trained one writes text. */
  readonly weights: 'circles' | 'trained';
}

interface LookupResult {
  readonly model: string;
  readonly workers: number;
  readonly threads: number;
  readonly text: string;
  readonly repeats: boolean;
  readonly offPerSecond: number;
  readonly onPerSecond: number;
  /** The median over the rounds. */
  readonly ratio: number;
  /** Whether both gave the same tokens every time. */
  readonly identical: boolean;
}

/** Prompt lookup on against off, one request at a time, on text that repeats and on text that does not. */
export async function benchLookup(options: BenchOptions): Promise<void> {
  const { repeats, threads } = options;
  const results: LookupResult[] = [];
  for (const setup of await setups(options)) results.push(...(await measureLookup(setup, repeats)));
  printTable(
    `Prompt lookup, medians: tokens per second`,
    ['model', 'workers × threads', 'text', 'off', 'on', 'ratio', 'to reach', 'same tokens'],
    results.map((r) => [
      r.model,
      `${r.workers} × ${r.threads}`,
      r.text,
      r.offPerSecond,
      r.onPerSecond,
      r.ratio,
      r.repeats ? '1.5' : '0.97',
      r.identical ? 'yes' : 'NO',
    ]),
  );
  writeResult('lookup', { repeats, threads, results });
}

async function setups(options: BenchOptions): Promise<LookupSetup[]> {
  const circles = { contextTokens: 1024, texts: 2, rounds: 1, weights: 'circles' } as const;
  const large = { name: '1B shape', path: await oneBillion({ circleTokens }) };
  const half = { name: '0.5B shape', path: await halfBillion({ circleTokens }) };
  const hybrid = { name: 'hybrid shape', path: await hybridModel(circleTokens) };
  const stories = { name: 'stories', path: ownModel };
  return [
    { ...circles, model: large, workers: 1, threads: options.threads },
    ...[1, 2].map((workers): LookupSetup => {
      const threads = Math.max(1, Math.floor(options.threads / workers));
      return { ...circles, rounds: 3, model: half, workers, threads };
    }),
    // Three of four layers keep states: what is computed again behind refused guesses is none here, as none is refused.
    { ...circles, model: hybrid, workers: 1, threads: options.threads },
    ...[1, 2].map((workers): LookupSetup => ({
      model: stories,
      workers,
      // A token takes less than a millisecond, so the orchestrator, which is this process, needs a core of its own: beside
      // two polling threads on two cores, rounds without guesses differed among each other by up to 0.59 and 1.67.
      threads: 1,
      contextTokens: 256,
      texts: 12,
      rounds: 8,
      weights: 'trained',
    })),
  ].filter(({ model }) => options.model === null || model.path === options.model);
}

async function measureLookup(setup: LookupSetup, repeats: number): Promise<LookupResult[]> {
  const { model, workers, threads, contextTokens, weights, texts } = setup;
  const shape = { workers, threads, contextTokens, parallel: 1 };
  await using off = await LocalCluster.start(model.path, { ...shape, speculation: 'off' });
  await using on = await LocalCluster.start(model.path, { ...shape, speculation: 'auto' });
  const results: LookupResult[] = [];
  for (const lookupCase of weights === 'circles'
    ? circleCases(off.vocabularySize, texts)
    : trainedCases(off, texts)) {
    const rounds: Round[] = [];
    // The first round warms up and does not count.
    for (let round = 0; round <= repeats * setup.rounds; round++) {
      const measured = await runRound(off, on, lookupCase);
      if (round > 0) rounds.push(measured);
    }
    results.push({
      model: model.name,
      workers,
      threads,
      text: lookupCase.text,
      repeats: lookupCase.repeats,
      offPerSecond: median(rounds.map((round) => round.offPerSecond)),
      onPerSecond: median(rounds.map((round) => round.onPerSecond)),
      ratio: median(rounds.map((round) => round.onPerSecond / round.offPerSecond)),
      identical: rounds.every((round) => round.identical),
    });
  }
  return results;
}

interface Round {
  readonly offPerSecond: number;
  readonly onPerSecond: number;
  readonly identical: boolean;
}

/** Each text by both, one right after the other; who begins changes from text to text. */
async function runRound(
  off: LocalCluster,
  on: LocalCluster,
  { prompt, tokens, samplings }: LookupCase,
): Promise<Round> {
  const texts = { off: [] as GeneratedText[], on: [] as GeneratedText[] };
  for (const [index, sampling] of samplings.entries())
    for (const side of index % 2 === 0 ? (['off', 'on'] as const) : (['on', 'off'] as const))
      texts[side].push(await (side === 'off' ? off : on).generate(prompt, tokens, sampling));
  // As many tokens each, so that the harmonic mean is the rate of all.
  const perSecond = (generated: readonly GeneratedText[]): number =>
    generated.length / generated.reduce((sum, text) => sum + 1 / decodePerSecond(text), 0);
  const tokensOf = (generated: readonly GeneratedText[]): string =>
    generated.map(({ tokenIds }) => tokenIds.join()).join(';');
  return {
    offPerSecond: perSecond(texts.off),
    onPerSecond: perSecond(texts.on),
    identical: tokensOf(texts.off) === tokensOf(texts.on),
  };
}

function circleCases(vocabulary: number, texts: number): LookupCase[] {
  const { after } = successorsOf(circleTokens, vocabulary);
  const text = (start: number, length: number): number[] => {
    const tokens = [start];
    while (tokens.length < length) tokens.push(after(tokens.at(-1) ?? start));
    return tokens;
  };
  const shared = { tokens: 128, samplings: likeliest(texts) };
  return [
    { ...shared, text: 'repeats its prompt', repeats: true, prompt: text(300, 2 * circleTokens) },
    { ...shared, text: 'never repeats', repeats: false, prompt: text(vocabulary >> 1, 2 * circleTokens) },
  ];
}

function trainedCases(cluster: LocalCluster, texts: number): LookupCase[] {
  const shared = { repeats: false, prompt: cluster.tokenize('Once upon a time'), tokens: 160 };
  return [
    { ...shared, text: 'a story, likeliest words', samplings: likeliest(texts) },
    { ...shared, text: 'stories, drawn', samplings: drawn(texts) },
  ];
}

function likeliest(texts: number): SamplingParams[] {
  return Array.from({ length: texts }, () => greedySampling);
}

function drawn(texts: number): SamplingParams[] {
  return Array.from({ length: texts }, (_, seed) => ({ ...greedySampling, temperature: 1, seed }));
}
