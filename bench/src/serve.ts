import { interleave } from './load/compare.js';
import { figuresOf, runLoad, type LoadFigures, type LoadPattern, type LoadRun } from './load/run-load.js';
import { chatLengths, poissonArrivals, trafficOf, type TokenRequest } from './load/traffic.js';
import { benchModels, vocabularyOf, type BenchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { Peer } from './processes/peer.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';

/** The longest prompt and output together, and some room. */
const contextTokens = 1024;
const parallel = 16;
/** Of the requests that the slower side answered with this many clients. */
const arrivalShare = 0.7;
const wholeClients = 8;
const splitClients = 16;
/** Bytes and special tokens come before it. */
const firstToken = 300;

type Pace = 'together' | 'free';

/** Figures of one load on both sides; the ratio is that of tokens per second. */
interface Comparison {
  readonly load: string;
  readonly butterfly: LoadFigures;
  readonly llamaCpp: LoadFigures;
  /** How the peer's texts went on, whichever was faster. */
  readonly pace: Pace;
  readonly ratio: number;
}

/** Two workers with half the threads each, beside one with all of them and half the clients. */
interface SplitComparison {
  readonly split: LoadFigures;
  readonly whole: LoadFigures;
  readonly ratio: number;
}

interface ServeResult {
  readonly model: string;
  readonly closed: readonly Comparison[];
  readonly open: Comparison;
  readonly twoWorkers: SplitComparison;
}

/** Any load in, what its clients saw out. */
type Side = (requests: readonly TokenRequest[], pattern: LoadPattern) => Promise<LoadRun>;

interface Sides {
  readonly whole: Side;
  readonly split: Side;
  readonly peer: Readonly<Record<Pace, Side>>;
  /** The requests for so many clients, the same for every side. */
  readonly requestsFor: (clients: number) => TokenRequest[];
}

/** The HTTP API under load, beside llama.cpp's continuous batching with as many sequences. */
export async function benchServe(options: BenchOptions): Promise<void> {
  const results: ServeResult[] = [];
  for (const model of await benchModels(options.model)) {
    const result = await serveOne(model, options);
    print(result, options);
    results.push(result);
    // After each model: a run takes long, and what it has is kept when it is broken off.
    writeResult('serve', {
      repeats: options.repeats,
      threads: options.threads,
      lengths: chatLengths,
      results,
    });
  }
}

async function serveOne(model: BenchModel, options: BenchOptions): Promise<ServeResult> {
  const { threads, repeats } = options;
  const shared = { contextTokens, parallel };
  const threadsEach = Math.max(1, threads >> 1);
  await using whole = await ServeProcess.start(model.path, { ...shared, workers: 1, threads });
  await using split = await ServeProcess.start(model.path, { ...shared, workers: 2, threads: threadsEach });
  await using peer = Peer.start(model.path);
  const vocabulary = await vocabularyOf(model.path);
  const sides: Sides = {
    whole: serverSide(whole, vocabulary),
    split: serverSide(split, vocabulary),
    peer: { together: peerSide(peer, threads, 'together'), free: peerSide(peer, threads, 'free') },
    requestsFor: (clients) =>
      trafficOf({
        key: `serve ${clients}`,
        // Fewer than two for each client would have no steady time.
        requests: Math.max(8, clients * 2, options.requests ?? 0),
        tokens: [firstToken, vocabulary],
        ...chatLengths,
      }),
  };
  for (const side of [sides.whole, sides.split])
    await side(sides.requestsFor(2).slice(0, 4), { kind: 'closed', clients: 2 });
  const closed: Comparison[] = [];
  for (const clients of options.clients) {
    const comparison = await compareClosed(sides, clients, repeats);
    closed.push(comparison);
    process.stdout.write(`${model.name}, ${comparison.load}: ${comparison.ratio.toFixed(2)} of llama.cpp\n`);
  }
  const reference = closed[options.clients.indexOf(wholeClients)] ?? closed.at(-1);
  const slower = Math.min(
    ...[reference?.butterfly, reference?.llamaCpp].map((figures) => figures?.requestsPerSecond ?? Infinity),
  );
  const open = await compareOpen(sides, options.ratePerSecond ?? arrivalShare * slower, repeats);
  return { model: model.name, closed, open, twoWorkers: await compareSplit(sides, repeats) };
}

async function compareClosed(sides: Sides, clients: number, repeats: number): Promise<Comparison> {
  const requests = sides.requestsFor(clients);
  const pattern = { kind: 'closed', clients } as const;
  const pace = await fasterPace(sides, requests.slice(0, clients), clients);
  return comparison(`${clients} clients`, sides, requests, pattern, pace, repeats);
}

/** The peer's faster way for so many clients; this also warms it up. */
async function fasterPace(sides: Sides, requests: readonly TokenRequest[], clients: number): Promise<Pace> {
  const pattern = { kind: 'closed', clients } as const;
  const perSecond = async (pace: Pace): Promise<number> =>
    figuresOf(await sides.peer[pace](requests, pattern)).tokensPerSecond;
  if (clients === 1) return 'together';
  return (await perSecond('free')) > (await perSecond('together')) ? 'free' : 'together';
}

function compareOpen(sides: Sides, perSecond: number, repeats: number): Promise<Comparison> {
  const requests = sides.requestsFor(wholeClients);
  const arrivalsMs = poissonArrivals('serve', requests.length, perSecond);
  const load = `${perSecond.toFixed(2)} arrivals/s`;
  return comparison(load, sides, requests, { kind: 'open', arrivalsMs }, 'together', repeats);
}

async function comparison(
  load: string,
  sides: Sides,
  requests: readonly TokenRequest[],
  pattern: LoadPattern,
  pace: Pace,
  repeats: number,
): Promise<Comparison> {
  const { butterfly, llamaCpp } = await interleave(repeats, {
    butterfly: () => sides.whole(requests, pattern),
    llamaCpp: () => sides.peer[pace](requests, pattern),
  });
  return { load, butterfly, llamaCpp, pace, ratio: butterfly.tokensPerSecond / llamaCpp.tokensPerSecond };
}

async function compareSplit(sides: Sides, repeats: number): Promise<SplitComparison> {
  const closed = (side: Side, clients: number) => () =>
    side(sides.requestsFor(clients), { kind: 'closed', clients });
  const { split, whole } = await interleave(repeats, {
    split: closed(sides.split, splitClients),
    whole: closed(sides.whole, wholeClients),
  });
  return { split, whole, ratio: split.tokensPerSecond / whole.tokensPerSecond };
}

/** Each run has prompts of its own, as long as those of the others: what one run cached must not help the next. */
function serverSide(server: ServeProcess, vocabulary: number): Side {
  let runs = 0;
  return (requests, pattern) => {
    runs += 1;
    const shift = runs * 7919;
    const fresh = requests.map((request) => ({
      ...request,
      prompt: request.prompt.map(
        (token) => firstToken + ((token - firstToken + shift) % (vocabulary - firstToken)),
      ),
    }));
    return runLoad(fresh, pattern, (request) => server.client.complete(request));
  };
}

function peerSide(peer: Peer, threads: number, pace: Pace): Side {
  return (requests, pattern) => {
    const sequences = pattern.kind === 'closed' ? pattern.clients : parallel;
    return peer.run({ threads, sequences, contextTokens, pace }, requests, pattern);
  };
}

function print({ model, closed, open, twoWorkers }: ServeResult, options: BenchOptions): void {
  const { repeats, threads } = options;
  const header = ['tok/s', 'first p50', 'p95', 'p99', 'between p50', 'p95', 'p99', 'ratio'];
  const cells = (figures: LoadFigures): number[] => [
    figures.tokensPerSecond,
    ...[figures.firstTokenMs, figures.betweenTokensMs].flatMap(({ p50, p95, p99 }) => [p50, p95, p99]),
  ];
  const title = `${model}, ${threads} threads, medians of ${repeats}: tokens per second, milliseconds to the first token and between tokens`;
  printTable(
    title,
    ['load', 'side', ...header],
    [...closed, open].flatMap(({ load, butterfly, llamaCpp, pace, ratio }) => [
      [load, 'butterfly', ...cells(butterfly), ratio],
      ['', `llama.cpp, ${pace}`, ...cells(llamaCpp), ''],
    ]),
  );
  printTable(
    `${model}: workers that share ${threads} threads`,
    ['workers', 'clients', ...header],
    [
      ['2', String(splitClients), ...cells(twoWorkers.split), twoWorkers.ratio],
      ['1', String(wholeClients), ...cells(twoWorkers.whole), ''],
    ],
  );
}
