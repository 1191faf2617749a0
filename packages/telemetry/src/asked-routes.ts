import { limits } from '@butterfly/common';

/** Routes that a model answers, and what the conventions of OpenTelemetry call that. */
const operations: ReadonlyMap<string, string> = new Map([
  ['/v1/chat/completions', 'chat'],
  ['/v1/responses', 'chat'],
  ['/v1/messages', 'chat'],
  ['/api/chat', 'chat'],
  ['/v1/completions', 'text_completion'],
  ['/api/generate', 'text_completion'],
  ['/infill', 'text_completion'],
  ['/v1/embeddings', 'embeddings'],
  ['/api/embed', 'embeddings'],
  ['/api/embeddings', 'embeddings'],
  ['/rerank', 'rerank'],
  ['/v1/rerank', 'rerank'],
]);

/**
 * What the conventions call what a route does; null for what no model answers.
 * @param route with its method, such as `POST /v1/chat/completions`
 */
export function operationOf(route: string): string | null {
  return operations.get(route.split(' ')[1] ?? '') ?? null;
}

/** All that connections to the API may ask at once. */
export const requestsFollowedMax = limits.httpConnectionsMax * limits.requestsPerConnectionMax;
