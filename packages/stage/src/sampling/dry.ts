import type { DrySampling } from '@butterfly/wire';

/** Natural logarithm of the largest F32: what a penalty may not exceed. */
const floatMaxLog = Math.fround(88.7228391);
/** With a base nearer to 1, no penalty can become too large. */
const growingBase = Math.fround(1.000001);

/** What starts with a token ends the repetition behind it: the tokens that have to follow, none for a token alone. */
type Breakers = ReadonlyMap<number, readonly Int32Array[]>;

/**
 * Makes tokens less likely that would prolong a repetition: llama.cpp's `llama_sampler_dry_apply`, number by number, in the
 * time of one pass over the recent tokens.
 * @param logits F32 of all tokens, changed in place.
 * @param recentTokens oldest first; the last `lastN` count.
 */
export function applyDry(logits: Float32Array, dry: DrySampling, recentTokens: Int32Array): void {
  const recent = recentTokens.subarray(Math.max(0, recentTokens.length - dry.lastN)).toReversed();
  if (recent.length <= dry.allowedLength) return;
  const breakers = byHead(dry.breakers);
  const longest = repetitionMax(recent, breakers);
  if (longest < dry.allowedLength) return;
  const lengths = repetitionLengths(recent, longest);
  /** By token that would prolong one, how long the longest is that it would. */
  const prolonged = new Map<number, number>();
  for (let back = recent.length - 1; back >= 1; back--) {
    const length = lengths[back] ?? 0;
    const token = recent[back - 1] ?? 0;
    if (length >= dry.allowedLength) prolonged.set(token, Math.max(length, prolonged.get(token) ?? 0));
  }
  const [multiplier, base] = [Math.fround(dry.multiplier), Math.fround(dry.base)];
  const exponentMax =
    base > growingBase ? Math.trunc(Math.fround(floatMaxLog / Math.fround(Math.log(base)))) : Infinity;
  for (const [token, length] of prolonged) {
    const logit = logits[token];
    if (logit === undefined || breakers.get(token)?.some((rest) => rest.length === 0)) continue;
    const exponent = length - dry.allowedLength;
    logits[token] = logit - Math.fround(multiplier * base ** Math.min(exponent, exponentMax));
  }
}

function byHead(breakers: readonly Int32Array[]): Breakers {
  const found = new Map<number, Int32Array[]>();
  for (const breaker of breakers) {
    const head = breaker[0] ?? -1;
    const rests = found.get(head);
    if (rests) rests.push(breaker.subarray(1));
    else found.set(head, [breaker.subarray(1)]);
  }
  return found;
}

/**
 * How far back a repetition may reach: to the latest breaker.
 * @param recent newest first
 */
function repetitionMax(recent: Int32Array, breakers: Breakers): number {
  for (const [back, token] of recent.entries()) {
    let longest = -1;
    for (const rest of breakers.get(token) ?? []) {
      const follows = rest.every((wanted, offset) => recent[back - 1 - offset] === wanted);
      if (rest.length > longest && rest.length <= back && follows) longest = rest.length;
    }
    if (longest >= 0) return back - longest;
  }
  return recent.length;
}

/**
 * For each place back from the end, how many tokens up to it are the last ones over again, at most `longest`: the
 * Z-algorithm, on lengths that are cut, as llama.cpp has it.
 * @param recent newest first
 */
function repetitionLengths(recent: Int32Array, longest: number): Int32Array {
  const lengths = new Int32Array(recent.length);
  /** The repetition that was found furthest on: its first place and its last. */
  let [left, right] = [0, 0];
  const extent = (from: number, back: number): number => {
    let end = from;
    while (end < recent.length && recent[end] === recent[end - back]) end++;
    return end;
  };
  for (let back = 1; back < recent.length; back++) {
    const inside = right - back + 1;
    const same = lengths[back - left] ?? 0;
    if (back <= right && same < inside) {
      lengths[back] = Math.min(same, longest);
      continue;
    }
    const end = extent(back > right ? back : right + 1, back);
    lengths[back] = Math.min(end - back, longest);
    if (back <= right || end > back) [left, right] = [back, end - 1];
  }
  return lengths;
}
