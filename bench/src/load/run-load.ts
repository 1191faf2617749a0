import { spreadOf, type Spread } from './statistics.js';

/** What a client saw of one request; times in milliseconds of one clock. */
export interface RequestRecord {
  readonly startMs: number;
  /** When each piece of the output arrived; a piece is mostly one token, and never less than one. */
  readonly piecesMs: readonly number[];
  /** Tokens of the output as the server counts them. */
  readonly tokens: number;
}

/** How requests follow each other. */
export type LoadPattern =
  /** So many clients, each of which sends the next request when its last one is answered. */
  | { readonly kind: 'closed'; readonly clients: number }
  /** Each request at its time, whatever became of those before. */
  | { readonly kind: 'open'; readonly arrivalsMs: readonly number[] };

export interface LoadRun {
  readonly records: readonly RequestRecord[];
  /** The steady part: every client busy, or arrivals after the first tenth. */
  readonly windowMs: readonly [start: number, end: number];
}

export type Send<R> = (request: R) => Promise<RequestRecord>;

/** Sends all requests, in their order. Fails with the first that fails. */
export function runLoad<R>(requests: readonly R[], pattern: LoadPattern, send: Send<R>): Promise<LoadRun> {
  return pattern.kind === 'closed'
    ? closedLoop(requests, pattern.clients, send)
    : openLoop(requests, pattern.arrivalsMs, send);
}

async function closedLoop<R>(requests: readonly R[], clients: number, send: Send<R>): Promise<LoadRun> {
  const records: RequestRecord[] = [];
  let next = 0;
  let endMs = Infinity;
  const client = async (): Promise<void> => {
    for (let request = requests[next++]; request !== undefined; request = requests[next++])
      records.push(await send(request));
    // From here on one client is idle, and the load is no longer the one that was asked for.
    endMs = Math.min(endMs, performance.now());
  };
  await Promise.all(Array.from({ length: clients }, client));
  const firsts = [...records].sort((a, b) => a.startMs - b.startMs).slice(0, clients);
  const startMs = Math.max(...firsts.map(({ piecesMs: [first = Infinity] }) => first));
  return { records, windowMs: [startMs, endMs] };
}

async function openLoop<R>(
  requests: readonly R[],
  arrivalsMs: readonly number[],
  send: Send<R>,
): Promise<LoadRun> {
  const startMs = performance.now();
  const records = await Promise.all(
    requests.map(async (request, index) => {
      const waitMs = startMs + (arrivalsMs[index] ?? 0) - performance.now();
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      return send(request);
    }),
  );
  const steadyMs = arrivalsMs[Math.floor(arrivalsMs.length / 10)] ?? 0;
  return { records, windowMs: [startMs + steadyMs, startMs + (arrivalsMs.at(-1) ?? 0)] };
}

/** What users of a server get from it. */
export interface LoadFigures {
  readonly tokensPerSecond: number;
  readonly requestsPerSecond: number;
  readonly firstTokenMs: Spread;
  readonly betweenTokensMs: Spread;
}

/** The figures of the steady part of a run. */
export function figuresOf({ records, windowMs: [startMs, endMs] }: LoadRun): LoadFigures {
  const seconds = (endMs - startMs) / 1000;
  if (!(seconds > 0)) throw new Error('There was no time when all clients were busy; send more requests.');
  const isInside = (atMs: number): boolean => atMs >= startMs && atMs <= endMs;
  let tokens = 0;
  let requests = 0;
  const firstTokenMs: number[] = [];
  const betweenTokensMs: number[] = [];
  for (const record of records) {
    const { piecesMs } = record;
    // It ended at its first token.
    if (piecesMs.length === 0) continue;
    // A piece that holds the rest of a character is more than one token.
    const tokensPerPiece = record.tokens / piecesMs.length;
    const inside = piecesMs.filter(isInside).length;
    tokens += inside * tokensPerPiece;
    requests += inside / piecesMs.length;
    const [first = NaN] = piecesMs;
    if (isInside(record.startMs)) firstTokenMs.push(first - record.startMs);
    for (let index = 1; index < piecesMs.length; index++) {
      const [beforeMs = NaN, atMs = NaN] = [piecesMs[index - 1], piecesMs[index]];
      if (isInside(beforeMs) && isInside(atMs)) betweenTokensMs.push(atMs - beforeMs);
    }
  }
  return {
    tokensPerSecond: tokens / seconds,
    requestsPerSecond: requests / seconds,
    firstTokenMs: spreadOf(firstTokenMs),
    betweenTokensMs: spreadOf(betweenTokensMs),
  };
}

/** Tokens per second of one side over those of the other. */
export function tokensRatio(one: LoadFigures, other: LoadFigures): number {
  return one.tokensPerSecond / other.tokensPerSecond;
}

/** Titles of `figureCells`. */
export const figureHeader = ['tok/s', 'first p50', 'p95', 'p99', 'between p50', 'p95', 'p99'] as const;

/** A row of a table. */
export function figureCells(figures: LoadFigures): number[] {
  return [
    figures.tokensPerSecond,
    ...[figures.firstTokenMs, figures.betweenTokensMs].flatMap(({ p50, p95, p99 }) => [p50, p95, p99]),
  ];
}

/** Tokens per second of one request after its first token. */
export function decodePerSecond({ piecesMs, tokens }: RequestRecord): number {
  const elapsedMs = (piecesMs.at(-1) ?? NaN) - (piecesMs[0] ?? NaN);
  return ((tokens - 1) * 1000) / elapsedMs;
}
