import type { ScoredToken, TokenLogprob } from '@butterfly/generation';

/** JSON has no minus infinity; OpenAI says it so. */
const finite = (logprob: number): number => (Number.isFinite(logprob) ? logprob : -9999);

const chatToken = ({ text, bytes, logprob }: Pick<TokenLogprob, 'text' | 'bytes' | 'logprob'>) => ({
  token: text,
  bytes: [...bytes],
  logprob: finite(logprob),
});

/** `logprobs` of a choice of a chat. */
export const chatLogprobs = (tokens: readonly ScoredToken[]): object => ({
  content: tokens.map(({ text, bytes, logprob, top }) => ({
    ...chatToken({ text, bytes, logprob: logprob ?? 0 }),
    top_logprobs: top.map(chatToken),
  })),
  refusal: null,
});

/**
 * `logprobs` of a choice of a text, column by column.
 * @param offset characters before the first of these tokens
 */
export function textLogprobs(tokens: readonly ScoredToken[], offset: number): object {
  let at = offset;
  const offsets = tokens.map(({ text }) => {
    const start = at;
    at += text.length;
    return start;
  });
  return {
    tokens: tokens.map(({ text }) => text),
    token_logprobs: tokens.map(({ logprob }) => logprob && finite(logprob)),
    top_logprobs: tokens.map(({ logprob, top }) =>
      logprob === null ? null : Object.fromEntries(top.map((each) => [each.text, finite(each.logprob)])),
    ),
    text_offset: offsets,
  };
}
