/**
 * A random fraction in [0, 1) that depends on (seed, position) alone: the sampler has no hidden state, so a sequence
 * can be continued on any machine. Two rounds of the 32-bit mixer "lowbias32" of C. Wellons
 * (https://nullprogram.com/blog/2018/07/31/) give 53 bits.
 */
export function drawFraction(seed: number, position: number): number {
  const high = mix(mix(seed ^ 0x9e3779b9) + position);
  const low = mix(high ^ mix(position ^ 0x85ebca6b));
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
