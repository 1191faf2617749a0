import type { PlainInput } from '@butterfly/generation';
import { invalid } from './parse-body.js';

const wanted = 'expected a string, an array of token ids, or an array of such';

/**
 * One text or several, each as text or as token ids: read by hand, since it may be millions of numbers.
 * @throws ButterflyError REQUEST_INVALID
 */
export function plainInputs(given: unknown, field: string, most: number): readonly PlainInput[] {
  if (typeof given === 'string') return [{ kind: 'text', text: given }];
  if (!Array.isArray(given)) throw invalid(field, wanted);
  const items: readonly unknown[] = given;
  if (items.length === 0) throw invalid(field, 'is empty');
  if (typeof items[0] === 'number') return [{ kind: 'tokens', tokens: tokenIds(items, field) }];
  if (items.length > most) throw invalid(field, `at most ${most} are allowed`);
  return items.map((item): PlainInput => {
    if (typeof item === 'string') return { kind: 'text', text: item };
    if (!Array.isArray(item)) throw invalid(field, wanted);
    return { kind: 'tokens', tokens: tokenIds(item, field) };
  });
}

function tokenIds(items: readonly unknown[], field: string): Int32Array {
  const tokens = new Int32Array(items.length);
  for (let at = 0; at < items.length; at++) {
    const item = items[at];
    if (typeof item !== 'number' || !Number.isInteger(item) || item < 0 || item > 0x7fff_ffff)
      throw invalid(field, `expected token ids, but item ${at} is none`);
    tokens[at] = item;
  }
  return tokens;
}
