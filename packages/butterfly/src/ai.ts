import { type OpenAICompatibleProvider, createOpenAICompatible } from '@ai-sdk/openai-compatible';
import type { Cluster } from './cluster/cluster.js';

/** A server of `butterfly serve`, with `/v1` at the end of its address. */
export interface ServedButterfly {
  readonly baseURL: string;
  /** Of `butterfly key create`, where the server asks for keys. */
  readonly apiKey?: string;
}

/** Models for the AI SDK: `butterfly(id)` for language, `butterfly.embeddingModel(id)` for vectors. */
export type ButterflyProvider = OpenAICompatibleProvider;

/** Never dialled: what is asked goes to the cluster itself. */
const insideURL = 'http://butterfly.invalid/v1';

/**
 * A provider for the AI SDK (`ai`), of a cluster inside this program or of a server elsewhere. Sampling that the SDK has no name for goes by
 * `providerOptions: { butterfly: { top_k: 40 } }`, with the fields of docs/api.md.
 */
export function createButterfly(source: Cluster | ServedButterfly): ButterflyProvider {
  return createOpenAICompatible({
    ...{ name: 'butterfly', includeUsage: true, supportsStructuredOutputs: true },
    ...('fetch' in source
      ? {
          baseURL: insideURL,
          fetch: (...asked: Parameters<typeof fetch>) => source.fetch(new Request(...asked)),
        }
      : { baseURL: source.baseURL, ...(source.apiKey === undefined ? {} : { apiKey: source.apiKey }) }),
  });
}
