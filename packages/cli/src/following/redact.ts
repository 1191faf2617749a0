/** Texts that tell who or where somebody is, by what they are. */
const patterns: readonly (readonly [what: string, pattern: RegExp])[] = [
  // Join tokens, and API keys.
  ['key', /\bbf[1k]-[\w-]+/gu],
  [
    'address',
    /\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[\da-f:]+\](?::\d+)?|\b(?:[\da-f]{1,4}:){4,7}[\da-f]{1,4}\b/giu,
  ],
  ['path', /(?:\/[\w.@+ -]+){2,}/gu],
  ['path', /\b[A-Z]:\\[\w.@+ \\-]+/gu],
];

/**
 * The same with names, addresses, paths and keys replaced by numbered words, each always by the same, so that whoever reads it still sees
 * what belongs together. Of whatever is no plain value, nothing is left.
 * @param names that people gave: of machines, keys, models
 */
export function redacted(value: unknown, names: readonly string[]): unknown {
  const known = new Map<string, string>();
  const counts = new Map<string, number>();
  const wordFor = (what: string, secret: string): string => {
    const before = known.get(secret);
    if (before !== undefined) return before;
    const count = (counts.get(what) ?? 0) + 1;
    counts.set(what, count);
    const word = `<${what}-${count}>`;
    known.set(secret, word);
    return word;
  };
  const longestFirst = [...new Set(names)].filter((name) => name !== '').sort((a, b) => b.length - a.length);
  const ofText = (text: string): string => {
    let rest = text;
    for (const name of longestFirst) rest = rest.replaceAll(name, () => wordFor('name', name));
    for (const [what, pattern] of patterns) rest = rest.replaceAll(pattern, (found) => wordFor(what, found));
    return rest;
  };
  const of = (each: unknown): unknown => {
    if (typeof each === 'string') return ofText(each);
    if (Array.isArray(each)) return each.map(of);
    if (typeof each === 'object' && each !== null)
      return Object.fromEntries(Object.entries(each).map(([key, inner]) => [ofText(key), of(inner)]));
    return typeof each === 'number' || typeof each === 'boolean' ? each : null;
  };
  return of(value);
}
