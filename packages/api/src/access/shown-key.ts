import { looksLikeApiKey } from '@butterfly/identity';
import type { IncomingHttpHeaders } from 'node:http';

/**
 * What a client shows as its key: as clients of OpenAI and Ollama do, `authorization: Bearer`, or as those of Anthropic,
 * `x-api-key`. Where they show both, the one that looks like a key. Null for none.
 */
export function shownKey({ authorization, 'x-api-key': other }: IncomingHttpHeaders): string | null {
  const bearer = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
  const shown = [bearer, other].filter((text) => typeof text === 'string' && text !== '') as string[];
  return shown.find(looksLikeApiKey) ?? shown[0] ?? null;
}
