import { ButterflyError } from '@butterfly/common';
import type { LayerAttention } from '@butterfly/model';
import { type CacheType, cacheTypes } from '@butterfly/wire';

/** A type of cached keys and values, or `auto` for the fastest one whose loss is allowed. */
type CacheWish = CacheType | 'auto';

/** Whose loss in logits is under the bound of docs/performance.md: `cache-types.test.ts` of the worker measures it. */
const allowedTypes: readonly CacheType[] = ['f16', 'bf16', 'q8_0'];

/** A type that takes more of the time of F16 is not worth other numbers than llama.cpp's default gives. */
const timeOfF16Max = 0.95;

/** Elements that share one scale. */
const q8BlockElements = 32;

export interface CacheChoice {
  readonly type: CacheType;
  /** Why, in words for a person. */
  readonly reason: string;
}

/** The sizes of the heads of each layer. */
interface Heads {
  readonly attention: readonly (Pick<LayerAttention, 'keySize' | 'valueSize'> | null)[];
}

/** @throws ButterflyError CONFIG_INVALID for a type that there is not, or that this model cannot have. */
export function checkCacheWish(spec: Heads, wanted: string): asserts wanted is CacheWish {
  if (wanted !== 'auto' && !cacheTypes.some((type) => type === wanted))
    throw new ButterflyError(
      'CONFIG_INVALID',
      `There is no KV cache type "${wanted.slice(0, 32)}"; choose one of auto, ${cacheTypes.join(', ')}.`,
      { param: 'kvCacheType' },
    );
  if (wanted === 'q8_0' && !isOffered(spec, wanted))
    throw new ButterflyError(
      'CONFIG_INVALID',
      `Heads of ${oddHead(spec) ?? 0} elements are not whole Q8_0 blocks of ${q8BlockElements}, so this model cannot have ` +
        'q8_0 as its KV cache type; choose f16, bf16 or auto.',
      { param: 'kvCacheType' },
    );
}

/**
 * The type that all stages have: the one that is wanted, else, of the allowed ones, the one with the least time of
 * attention in all workers together, provided that it beats F16 by 5%.
 * @param workers at least one, with their measurements
 * @throws ButterflyError CONFIG_INVALID for a type that this model cannot have.
 */
export function chooseCacheType(
  workers: readonly { readonly attentionMicros: Readonly<Record<CacheType, number>> }[],
  spec: Heads,
  wanted: CacheWish,
): CacheChoice {
  checkCacheWish(spec, wanted);
  if (wanted !== 'auto') return { type: wanted, reason: 'It was asked for.' };
  const micros = (type: CacheType): number =>
    workers.reduce((sum, { attentionMicros }) => sum + attentionMicros[type], 0);
  const f16Micros = micros('f16');
  const others = allowedTypes.filter((type) => type !== 'f16' && isOffered(spec, type));
  const shares = others.map((type) => ({ type, share: micros(type) / f16Micros }));
  const fastest = shares.reduce((best, other) => (other.share < best.share ? other : best), {
    type: 'f16',
    share: timeOfF16Max,
  });
  const times = shares.map(({ type, share }) => `${type} ${share.toFixed(2)}`).join(' and ');
  const reason = `Attention takes ${times} of the time that it takes with f16.`;
  return { type: fastest.type, reason };
}

function isOffered(spec: Heads, type: CacheType): boolean {
  return type !== 'q8_0' || oddHead(spec) === undefined;
}

/** The size of heads that are not whole blocks. */
function oddHead({ attention }: Heads): number | undefined {
  return attention
    .flatMap((layer) => (layer === null ? [] : [layer.keySize, layer.valueSize]))
    .find((size) => size % q8BlockElements !== 0);
}
