import { ButterflyError, limits } from '@butterfly/common';
import type { TokenTable } from '@butterfly/wire';

/**
 * How many tokens two models have in common, from the first on: all of the smaller vocabulary.
 * @throws ButterflyError CONFIG_INVALID that names the first token that is another one, or the sizes where these are too
 * different: what one model guesses would be nonsense to the other
 */
export function sharedTokens(model: TokenTable, draft: TokenTable): number {
  const sizes = [tokensOf(model), tokensOf(draft)] as const;
  const shared = Math.min(...sizes);
  if (Math.max(...sizes) - shared > limits.vocabularyPaddingMax)
    throw unlike(`has ${sizes[1]} tokens and the model ${sizes[0]}`);
  for (let token = 0; token < shared; token += 1)
    if (!isSame(model, draft, token))
      throw unlike(
        `knows token ${token} as ${wordsOf(draft, token)} and the model as ${wordsOf(model, token)}`,
      );
  return shared;
}

function unlike(how: string): ButterflyError {
  return new ButterflyError(
    'CONFIG_INVALID',
    `The draft model ${how}; choose one with the same vocabulary, as smaller models of the same family have.`,
    { param: 'draft' },
  );
}

const tokensOf = ({ offsets }: TokenTable): number => offsets.length - 1;

function bytesOf({ bytes, offsets }: TokenTable, token: number): Uint8Array {
  return bytes.subarray(offsets[token], offsets[token + 1]);
}

function isSame(a: TokenTable, b: TokenTable, token: number): boolean {
  const [one, other] = [bytesOf(a, token), bytesOf(b, token)];
  return (
    a.isSpecial[token] === b.isSpecial[token] &&
    one.length === other.length &&
    one.every((byte, index) => byte === other[index])
  );
}

function wordsOf(table: TokenTable, token: number): string {
  const text = JSON.stringify(Buffer.from(bytesOf(table, token)).toString());
  return table.isSpecial[token] === 1 ? `a control token` : text;
}
