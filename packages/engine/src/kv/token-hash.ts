/** Tokens that grow or change elsewhere. */
export interface TokenReader {
  readonly length: number;
  at(index: number): number;
}

/** Continues the hash of all blocks before with the tokens from `start` to `end`; a safe integer. */
export type BlockHash = (previous: number, tokens: TokenReader, start: number, end: number) => number;

const twoTo32 = 2 ** 32;

/** Two replicas in the manner of MurmurHash3, joined to 53 bits. */
export function chainedHash(previous: number, tokens: TokenReader, start: number, end: number): number {
  let low = previous | 0;
  let high = (previous / twoTo32) | 0;
  for (let index = start; index < end; index += 1) {
    const token = tokens.at(index);
    low = mix(low, Math.imul(token, 0xcc9e2d51), 0x1b873593);
    high = mix(high, Math.imul(token, 0x239b961b), 0x38b34ae5);
  }
  return (finish(high) & 0x1f_ffff) * twoTo32 + (finish(low) >>> 0);
}

function mix(replica: number, token: number, factor: number): number {
  const mixed = replica ^ Math.imul((token << 15) | (token >>> 17), factor);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe654_6b64) | 0;
}

function finish(replica: number): number {
  const mixed = Math.imul(replica ^ (replica >>> 16), 0x85eb_ca6b);
  return mixed ^ (mixed >>> 13);
}
