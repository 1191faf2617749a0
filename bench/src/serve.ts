import { interleave } from './load/compare.js';
import { figureCells, figureHeader, figuresOf, type LoadFigures, type LoadPattern } from './load/run-load.js';
import { contextTokens, parallel, requestsFor, serverSide, type Side } from './load/sides.js';
import { chatLengths, poissonArrivals, type TokenRequest } from './load/traffic.js';
import { benchModels, vocabularyOf, type BenchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { Peer } from './processes/peer.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';

/** Of the requests that the slower side answered with this many clients. */
const arrivalShare = 0.7;
const referenceClients = 8;

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

interface ServeResult {
  readonly model: string;
  readonly closed: readonly Comparison[];
  readonly open: Comparison;
}

interface Sides {
  readonly butterfly: Side;
  readonly peer: Readonly<Record<Pace, Side>>;
  /** The requests for so many clients, the same for both sides. */
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
  await using server = await ServeProcess.start(model.path, { contextTokens, parallel, workers: 1, threads });
  await using peer = Peer.start(model.path);
  const vocabulary = await vocabularyOf(model.path);
  const sides: Sides = {
    butterfly: serverSide(server, vocabulary),
    peer: { together: peerSide(peer, threads, 'together'), free: peerSide(peer, threads, 'free') },
    requestsFor: (clients) => requestsFor(clients, vocabulary, options.requests),
  };
  await sides.butterfly(sides.requestsFor(2).slice(0, 4), { kind: 'closed', clients: 2 });
  const closed: Comparison[] = [];
  for (const clients of options.clients) {
    const comparison = await compareClosed(sides, clients, repeats);
    closed.push(comparison);
    process.stdout.write(`${model.name}, ${comparison.load}: ${comparison.ratio.toFixed(2)} of llama.cpp\n`);
  }
  const reference = closed[options.clients.indexOf(referenceClients)] ?? closed.at(-1);
  const slower = Math.min(
    ...[reference?.butterfly, reference?.llamaCpp].map((figures) => figures?.requestsPerSecond ?? Infinity),
  );
  const open = await compareOpen(sides, options.ratePerSecond ?? arrivalShare * slower, repeats);
  return { model: model.name, closed, open };
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
  const requests = sides.requestsFor(referenceClients);
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
    butterfly: () => sides.butterfly(requests, pattern),
    llamaCpp: () => sides.peer[pace](requests, pattern),
  });
  return { load, butterfly, llamaCpp, pace, ratio: butterfly.tokensPerSecond / llamaCpp.tokensPerSecond };
}

function peerSide(peer: Peer, threads: number, pace: Pace): Side {
  return (requests, pattern) => {
    const sequences = pattern.kind === 'closed' ? pattern.clients : parallel;
    return peer.run({ threads, sequences, contextTokens, pace }, requests, pattern);
  };
}

function print({ model, closed, open }: ServeResult, options: BenchOptions): void {
  const { repeats, threads } = options;
  const title = `${model}, ${threads} threads, medians of ${repeats}: tokens per second, milliseconds to the first token and between tokens`;
  printTable(
    title,
    ['load', 'side', ...figureHeader, 'ratio'],
    [...closed, open].flatMap(({ load, butterfly, llamaCpp, pace, ratio }) => [
      [load, 'butterfly', ...figureCells(butterfly), ratio],
      ['', `llama.cpp, ${pace}`, ...figureCells(llamaCpp), ''],
    ]),
  );
}
