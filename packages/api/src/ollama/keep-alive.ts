import { z } from 'zod';
import { invalid } from '../fields/parse-body.js';

/** Seconds, or a duration as Go writes it; below 0 for ever. */
export const keepAliveSchema = z.union([z.number(), z.string()]);

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};
const part = /(\d+(?:\.\d+)?)(ms|s|m|h)/g;

/**
 * How long a model stays loaded after a request, in milliseconds; undefined leaves that to the server.
 * @throws ButterflyError REQUEST_INVALID
 */
export function keepMsOf(value: z.output<typeof keepAliveSchema> | null | undefined): number | undefined {
  if (value == null || value === '') return undefined;
  if (typeof value === 'number') return value < 0 ? Infinity : value * 1_000;
  if (/^-?\d+(\.\d+)?$/.test(value)) return keepMsOf(Number(value));
  const isForEver = value.startsWith('-');
  const text = isForEver ? value.slice(1) : value;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text))
    throw invalid('keep_alive', 'expected seconds or a duration such as "5m"; -1 is for ever');
  if (isForEver) return Infinity;
  return [...text.matchAll(part)].reduce(
    (sum, [, count, unit]) => sum + Number(count) * (unitMs[unit ?? ''] ?? 0),
    0,
  );
}
