import type { CompletionClient } from '../load/completion-client.js';
import { decodePerSecond, figuresOf, runLoad } from '../load/run-load.js';
import { requestsFor } from '../load/sides.js';
import { median } from '../load/statistics.js';
import type { TokenRequest } from '../load/traffic.js';

/** Tokens of a stream. */
interface StreamShape {
  readonly promptTokens: number;
  readonly outputTokens: number;
}

const usualShape: StreamShape = { promptTokens: 128, outputTokens: 96 };
/** Bytes and special tokens come before it. */
const firstToken = 300;

/** What one side did in one round: the figure that counts, and the time to the first token, where that is of interest. */
export interface Round {
  readonly figure: number;
  readonly firstTokenMs: number;
}

/** A load, and which way its figure is better. */
export interface Load {
  readonly name: string;
  readonly unit: string;
  readonly isTime: boolean;
  readonly run: (client: CompletionClient, round: number) => Promise<Round>;
}

/** One stream, alone. */
export function oneStream(vocabulary: number, shape = usualShape): Load {
  return {
    name: 'one stream',
    unit: 'decode tok/s',
    isTime: false,
    run: async (client, round) => {
      const [request] = equalRequests(1, shape, round, vocabulary);
      if (!request) throw new Error('There is no request.');
      const record = await client.complete(request);
      return { figure: decodePerSecond(record), firstTokenMs: (record.piecesMs[0] ?? NaN) - record.startMs };
    },
  };
}

/** Streams that begin at once, until the first of them ends. */
export function atOnce(streams: number, vocabulary: number): Load {
  return {
    name: `${streams} streams at once`,
    unit: 's until one ends',
    isTime: true,
    run: async (client, round) => {
      const requests = equalRequests(streams, usualShape, round, vocabulary);
      const startMs = performance.now();
      const records = await Promise.all(requests.map((request) => client.complete(request)));
      const ends = records.map(({ piecesMs }) => piecesMs.at(-1) ?? NaN);
      const firsts = records.map(({ piecesMs }) => (piecesMs[0] ?? NaN) - startMs);
      return { figure: (Math.min(...ends) - startMs) / 1000, firstTokenMs: median(firsts) };
    },
  };
}

/** Clients that each send the next request when the last one is answered, with the lengths of chats. */
export function closedLoop(clients: number, vocabulary: number, least: number | null): Load {
  return {
    name: `closed loop of ${clients}`,
    unit: 'output tok/s',
    isTime: false,
    run: async (client, round) => {
      const requests = shifted(requestsFor(clients, vocabulary, least ?? 3 * clients), round, vocabulary);
      const run = await runLoad(requests, { kind: 'closed', clients }, (each) => client.complete(each));
      const tokens = run.records.reduce((sum, each) => sum + each.tokens, 0);
      const startMs = Math.min(...run.records.map((each) => each.startMs));
      const endMs = Math.max(...run.records.map(({ piecesMs }) => piecesMs.at(-1) ?? NaN));
      return { figure: (tokens * 1000) / (endMs - startMs), firstTokenMs: figuresOf(run).firstTokenMs.p50 };
    },
  };
}

function equalRequests(
  count: number,
  { promptTokens, outputTokens }: StreamShape,
  round: number,
  vocabulary: number,
): TokenRequest[] {
  const token = (at: number): number => firstToken + ((at * 7919) % (vocabulary - firstToken));
  const requests = Array.from({ length: count }, (_, index) => ({
    prompt: Array.from({ length: promptTokens }, (_each, at) => token(index * promptTokens + at)),
    outputTokens,
  }));
  return shifted(requests, round, vocabulary);
}

/** Each round has prompts of its own: what one cached must not help the next. */
function shifted(requests: readonly TokenRequest[], round: number, vocabulary: number): TokenRequest[] {
  const shift = (round + 1) * 104_729;
  const room = vocabulary - firstToken;
  return requests.map((request) => ({
    ...request,
    prompt: request.prompt.map((token) => firstToken + ((token - firstToken + shift) % room)),
  }));
}
