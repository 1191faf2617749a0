/** What sets the streams of one seed apart, odd as the multiples of it are to be different. */
const streamStep = 0x632be5ab;

/**
 * A random fraction in [0, 1) that depends on (seed, position) alone: the sampler has no hidden state, so a sequence
 * can be continued on any machine. Further streams, for draws beside that of the token, are those of other seeds. Two rounds of the 32-bit mixer "lowbias32" of C. Wellons
 * (https://nullprogram.com/blog/2018/07/31/) give 53 bits.
 */
export function drawFraction(seed: number, position: number, stream = 0): number {
  const ownSeed = stream === 0 ? seed : mix(seed + Math.imul(stream, streamStep));
  const high = mix(mix(ownSeed ^ 0x9e3779b9) + position);
  const low = mix(high ^ mix(position ^ 0x85ebca6b));
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
