import { type OpenAICompatibleProvider, createOpenAICompatible } from '@ai-sdk/openai-compatible';
import type { Cluster } from './cluster/cluster.js';
import { resumingFetch } from './clients/resuming-fetch.js';

export { resumingFetch } from './clients/resuming-fetch.js';
export type { ResumingOptions } from './clients/resuming-fetch.js';

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

type Fetch = typeof fetch;

/**
 * A provider for the AI SDK (`ai`), of a cluster inside this program or of a server elsewhere. Sampling that the SDK has no name for goes by
 * `providerOptions: { butterfly: { top_k: 40 } }`, with the fields of docs/api.md. Answers of a server elsewhere survive lost connections, as
 * `resumingFetch` has it; with a header `x-conversation-id` they can be resumed, too, by `resumedConversation`.
 */
export const createButterfly = (source: Cluster | ServedButterfly): ButterflyProvider =>
  providerOf(source, fetchOf(source));

/**
 * A model that says again, from its beginning, what the latest answer of a conversation says, and goes on with it: for the route by which a
 * page resumes a chat after it was loaded anew. Its prompt is of no matter; where nothing of the conversation is kept, it fails with status 404.
 * @param conversationId as the answer was asked for, in the header `x-conversation-id`
 */
export function resumedConversation(
  source: Cluster | ServedButterfly,
  conversationId: string,
): ReturnType<ButterflyProvider> {
  const ask = fetchOf(source);
  const follow: Fetch = (...asked) => {
    const { url, headers, signal } = new Request(...asked);
    // From `…/v1/chat/completions`.
    const stream = new URL('../stream', url);
    stream.searchParams.set('conv_id', conversationId);
    headers.delete('content-type');
    return ask(stream, { headers, signal });
  };
  return providerOf(source, follow)('resumed');
}

const fetchOf = (source: Cluster | ServedButterfly): Fetch =>
  'fetch' in source ? (...asked) => source.fetch(new Request(...asked)) : resumingFetch();

function providerOf(source: Cluster | ServedButterfly, ask: Fetch): ButterflyProvider {
  const isInside = 'fetch' in source;
  return createOpenAICompatible({
    ...{ name: 'butterfly', includeUsage: true, supportsStructuredOutputs: true },
    baseURL: isInside ? insideURL : source.baseURL,
    fetch: ask,
    ...(isInside || source.apiKey === undefined ? {} : { apiKey: source.apiKey }),
  });
}
