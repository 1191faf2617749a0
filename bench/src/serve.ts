import { poissonArrivals, uniforms } from '@butterfly/common';
import { interleave } from './load/compare.js';
import {
  figureCells,
  figureHeader,
  figuresOf,
  tokensRatio,
  type LoadFigures,
  type LoadPattern,
} from './load/run-load.js';
import { contextTokens, parallel, requestsFor, serverSide, type Side } from './load/sides.js';
import { chatLengths, type TokenRequest } from './load/traffic.js';
import { benchModels, vocabularyOf, type BenchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { Peer } from './processes/peer.js';
import { ServeProcess } from './processes/serve-process.js';
import { printTable, writeResult } from './report.js';
import { binariesIfGiven, type LlamaBinaries } from './servers/binaries.js';
import { LlamaServer } from './servers/llama-server.js';

/** Of the requests that the slowest side answered with this many clients. */
const arrivalShare = 0.7;
const referenceClients = 8;

type Pace = 'together' | 'free';

/** A load on llama.cpp's own server; the ratio is that of our tokens per second to its. */
interface ServerFigures {
  readonly figures: LoadFigures;
  readonly ratio: number;
}

/** Figures of one load on all sides; the ratio is that of tokens per second. */
interface Comparison {
  readonly load: string;
  readonly butterfly: LoadFigures;
  readonly llamaCpp: LoadFigures;
  /** How the peer's texts went on, whichever was faster. */
  readonly pace: Pace;
  readonly ratio: number;
  /** Over HTTP as we are; null without `--llama-bin`. */
  readonly llamaServer: ServerFigures | null;
}

interface ServeResult {
  readonly model: string;
  readonly closed: readonly Comparison[];
  readonly open: Comparison;
}

interface Sides {
  readonly butterfly: Side;
  readonly peer: Readonly<Record<Pace, Side>>;
  readonly llamaServer: Side | null;
  /** The requests for so many clients, the same for all sides. */
  readonly requestsFor: (clients: number) => TokenRequest[];
}

/**
 * The HTTP API under load, beside llama.cpp's continuous batching with as many sequences, and its own server.
 * @throws ButterflyError as `openBinaries`
 */
export async function benchServe(options: BenchOptions): Promise<void> {
  const binaries = await binariesIfGiven(options.llamaBin);
  const results: ServeResult[] = [];
  for (const model of await benchModels(options.model)) {
    const result = await serveOne(model, binaries, options);
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

async function serveOne(
  model: BenchModel,
  binaries: LlamaBinaries | null,
  options: BenchOptions,
): Promise<ServeResult> {
  const { threads, repeats } = options;
  const shape = { contextTokens, parallel, workers: 1, threads };
  await using server = await ServeProcess.start(model.path, shape);
  await using llamaServer = binaries && (await LlamaServer.start(model.path, { ...shape, binaries }));
  await using peer = Peer.start(model.path);
  const vocabulary = await vocabularyOf(model.path);
  const sides: Sides = {
    butterfly: serverSide(server, vocabulary),
    peer: { together: peerSide(peer, threads, 'together'), free: peerSide(peer, threads, 'free') },
    llamaServer: llamaServer && serverSide(llamaServer, vocabulary),
    requestsFor: (clients) => requestsFor(clients, vocabulary, options.requests),
  };
  for (const side of [sides.butterfly, sides.llamaServer])
    await side?.(sides.requestsFor(2).slice(0, 4), { kind: 'closed', clients: 2 });
  const closed: Comparison[] = [];
  for (const clients of options.clients) {
    const comparison = await compareClosed(sides, clients, repeats);
    closed.push(comparison);
    process.stdout.write(`${model.name}, ${comparison.load}: ${ratios(comparison)}\n`);
  }
  const reference = closed[options.clients.indexOf(referenceClients)] ?? closed.at(-1);
  const slowest = Math.min(
    ...[reference?.butterfly, reference?.llamaCpp, reference?.llamaServer?.figures].map(
      (figures) => figures?.requestsPerSecond ?? Infinity,
    ),
  );
  const open = await compareOpen(sides, options.ratePerSecond ?? arrivalShare * slowest, repeats);
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
  const arrivalsMs = poissonArrivals(uniforms('serve'), requests.length, perSecond);
  const load = `${perSecond.toFixed(2)} arrivals/s`;
  return comparison(load, sides, requests, { kind: 'open', arrivalsMs }, 'together', repeats);
}

async function comparison(
  name: string,
  sides: Sides,
  requests: readonly TokenRequest[],
  pattern: LoadPattern,
  pace: Pace,
  repeats: number,
): Promise<Comparison> {
  const load = (side: Side) => () => side(requests, pattern);
  const always = { butterfly: load(sides.butterfly), llamaCpp: load(sides.peer[pace]) };
  if (!sides.llamaServer)
    return { ...comparisonOf(name, pace, await interleave(repeats, always)), llamaServer: null };
  const all = await interleave(repeats, { ...always, llamaServer: load(sides.llamaServer) });
  return {
    ...comparisonOf(name, pace, all),
    llamaServer: { figures: all.llamaServer, ratio: tokensRatio(all.butterfly, all.llamaServer) },
  };
}

function comparisonOf(
  load: string,
  pace: Pace,
  { butterfly, llamaCpp }: Readonly<Record<'butterfly' | 'llamaCpp', LoadFigures>>,
): Omit<Comparison, 'llamaServer'> {
  return { load, butterfly, llamaCpp, pace, ratio: tokensRatio(butterfly, llamaCpp) };
}

function ratios({ ratio, llamaServer }: Comparison): string {
  const ofServer = llamaServer ? `, ${llamaServer.ratio.toFixed(2)} of llama-server` : '';
  return `${ratio.toFixed(2)} of llama.cpp${ofServer}`;
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
    ['load', 'side', ...figureHeader, 'butterfly / it'],
    [...closed, open].flatMap(({ load, butterfly, llamaCpp, pace, ratio, llamaServer }) => [
      [load, 'butterfly', ...figureCells(butterfly), ''],
      ['', `llama.cpp, ${pace}`, ...figureCells(llamaCpp), ratio],
      ...(llamaServer ? [['', 'llama-server', ...figureCells(llamaServer.figures), llamaServer.ratio]] : []),
    ]),
  );
}
