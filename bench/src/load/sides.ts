import type { CompletionClient } from './completion-client.js';
import { runLoad, type LoadPattern, type LoadRun } from './run-load.js';
import { chatLengths, trafficOf, type TokenRequest } from './traffic.js';

/** Of one request: the longest prompt and output together, and some room. */
export const contextTokens = 1024;
/** As many as the most clients. */
export const parallel = 16;
/** Bytes and special tokens come before it. */
const firstToken = 300;

/** Any load in, what its clients saw out. */
export type Side = (requests: readonly TokenRequest[], pattern: LoadPattern) => Promise<LoadRun>;

/** Ours or llama.cpp's, asked over HTTP. */
export interface Server {
  readonly client: CompletionClient;
}

/** Requests like those of a chat, at least two for each client: fewer would have no steady time. */
export function requestsFor(clients: number, vocabulary: number, least: number | null): TokenRequest[] {
  return trafficOf({
    key: `serve ${clients}`,
    requests: Math.max(8, clients * 2, least ?? 0),
    tokens: [firstToken, vocabulary],
    ...chatLengths,
  });
}

/** Each run has prompts of its own, as long as those of the others: what one run cached must not help the next. */
export function serverSide({ client }: Server, vocabulary: number): Side {
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
    return runLoad(fresh, pattern, (request) => client.complete(request));
  };
}
