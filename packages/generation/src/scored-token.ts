import type { GenerateEvent } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import type { ScoredToken, TokenLogprob } from './events.js';

type TokenLogprobs = NonNullable<Extract<GenerateEvent, { kind: 'promptToken' }>['logprobs']>;
type Names = Pick<Vocabulary, 'tokenToBytes'>;

/** A token with its log probability and its alternatives, in words. @param logprobs null where nothing is known of it */
export function scoredToken(vocabulary: Names, token: number, logprobs: TokenLogprobs | null): ScoredToken {
  return {
    ...named(vocabulary, token),
    logprob: logprobs?.logprob ?? null,
    top: (logprobs?.top ?? []).map((each): TokenLogprob => ({
      ...named(vocabulary, each.token),
      logprob: each.logprob,
    })),
  };
}

function named(vocabulary: Names, token: number): Pick<ScoredToken, 'token' | 'text' | 'bytes'> {
  const bytes = vocabulary.tokenToBytes(token, { special: true });
  return { token, text: Buffer.from(bytes).toString(), bytes };
}
