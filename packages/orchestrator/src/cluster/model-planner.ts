import type { Logger } from '@butterfly/common';
import { cacheBytesPerSlot, inputBytes, layerBytes, outputBytes, type ModelSpec } from '@butterfly/model';
import { checkCacheWish, chooseCacheType, type CacheChoice } from './cache-choice.js';
import type { ControllerConfig } from './controller.js';
import { planPipeline } from './planner.js';

interface ModelPlannerOptions {
  readonly spec: ModelSpec;
  /** Slots of the KV arena, in tokens. */
  readonly arenaSlots: number;
  /** Most rows of one step. */
  readonly rowsMax: number;
  /** One of `cacheTypes`; by default `auto`, the fastest whose loss is allowed. */
  readonly kvCacheType?: string | undefined;
  readonly log: Logger;
}

/**
 * Makes plans, all with one type of cache: the one that is best for the workers of the first plan. A later plan with
 * another type would change the numbers of requests under way.
 * @throws ButterflyError CONFIG_INVALID for a type that there is not, or that this model cannot have
 */
export function modelPlanner(options: ModelPlannerOptions): ControllerConfig['plan'] {
  const { spec, arenaSlots, log, kvCacheType = 'auto' } = options;
  checkCacheWish(spec, kvCacheType);
  let choice: CacheChoice | null = null;
  return (members) => {
    const { type, reason } = choice ?? chooseCacheType(members, spec, kvCacheType);
    const plan = planPipeline({
      layerBytes: layerBytes(spec),
      inputBytes: inputBytes(spec),
      outputBytes: outputBytes(spec),
      cacheType: type,
      kvBytesPerSlotPerLayer: cacheBytesPerSlot(spec, type),
      arenaSlots,
      overheadBytes: overheadBytes(options),
      workers: members,
    });
    if (!choice) log.info({ cacheType: type }, `The KV cache is ${type}. ${reason}`);
    choice = { type, reason };
    return plan;
  };
}

/** Compute buffers, the runtime and its libraries. */
function overheadBytes({ spec, rowsMax }: ModelPlannerOptions): number {
  const activationBytes = rowsMax * 4 * (spec.hidden * 8 + spec.feedForward * 3);
  return 128 * 2 ** 20 + activationBytes + spec.vocabulary * 4 * 16;
}
