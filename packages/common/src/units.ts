const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const decimals = [0, 1, 1, 2, 2] as const;

/** A number of bytes for people: `1.50 GiB`. */
export function formatBytes(count: number): string {
  const power = count < 1 ? 0 : Math.min(byteUnits.length - 1, Math.floor(Math.log2(count) / 10));
  return `${(count / 2 ** (10 * power)).toFixed(decimals[power])} ${byteUnits[power] ?? ''}`;
}

/** A time for people, with three digits or so: `0.31 ms`. */
export function formatMicros(micros: number): string {
  if (micros >= 10e6) return `${(micros / 1e6).toFixed(1)} s`;
  const ms = micros / 1e3;
  return `${ms.toFixed(digitsOf(ms))} ms`;
}

/** A speed for people, with three digits or so: `25.4 tokens/s`. */
export function formatRate(tokensPerSecond: number): string {
  return `${tokensPerSecond.toFixed(digitsOf(tokensPerSecond))} tokens/s`;
}

function digitsOf(value: number): number {
  if (value < 10) return 2;
  return value < 1000 ? 1 : 0;
}
