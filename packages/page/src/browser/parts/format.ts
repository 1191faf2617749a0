/** `1,234`, or `12.3k` and `4.56M` where that says enough. */
export function countWords(count: number): string {
  if (!Number.isFinite(count)) return '–';
  if (count >= 999_950) return `${rounded(count / 1e6)}M`;
  if (count >= 10_000) return `${rounded(count / 1e3)}k`;
  return Math.round(count).toLocaleString('en');
}

/** Three digits that count: `0.12`, `3.45`, `12.3`, `123`. */
export function rounded(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  const text = value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** In the units of memory: `1.5 GiB`. */
export function bytesWords(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [value, unit] = [bytes, 0];
  while (value >= 1023.5 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${rounded(value)} ${units[unit] ?? ''}`;
}

/** In the units of networks: `118 MB/s`. */
export function speedWords(bytesPerSecond: number): string {
  const units = ['B', 'kB', 'MB', 'GB'];
  let [value, unit] = [bytesPerSecond, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return Number.isFinite(value) ? `${rounded(value)} ${units[unit] ?? ''}/s` : 'no limit';
}

/** `85 µs`, `12.3 ms`, `4.5 s`, `3 min 20 s`, `2 h 5 min`. */
export function durationWords(ms: number): string {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 0.9995) return `${rounded(ms * 1000)} µs`;
  if (ms < 999.5) return `${rounded(ms)} ms`;
  if (ms < 59_950) return `${rounded(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const from = parts.findIndex(([value]) => value > 0);
  return parts
    .slice(from, from + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ');
}

export function shareWords(share: number): string {
  return Number.isFinite(share) ? `${Math.round(share * 100)} %` : '–';
}

/** Layers as people count them: `layers 0–9`, `layer 3`. */
export function layerWords([first, last]: readonly [number, number]): string {
  return first === last ? `layer ${first}` : `layers ${first}–${last}`;
}

/** `14:03:22`, where the browser is. */
export function clockWords(atMs: number): string {
  return new Date(atMs).toLocaleTimeString('en-GB');
}

/** With the day, where it is not today's. */
export function momentWords(atMs: number, nowMs: number): string {
  const [at, now] = [new Date(atMs), new Date(nowMs)];
  const day = at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
  return at.toDateString() === now.toDateString() ? clockWords(atMs) : `${day}, ${clockWords(atMs)}`;
}

/** `1 step`, `2 steps`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${countWords(count)} ${count === 1 ? one : many}`;
}
