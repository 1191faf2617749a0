import { ButterflyError, type Observer } from '@butterfly/common';
import {
  type ModelSpec,
  activationBytes,
  cacheBytes,
  everyStageBytes,
  expertBytes,
  inputBytes,
  isOfExperts,
  joinedLayers,
  kindOfLayers,
  layerBytes,
  layerKinds,
  layerWords,
  outputBytes,
  stateBytes,
  timesOfKinds,
} from '@butterfly/model';
import type { CacheType } from '@butterfly/wire';
import { checkCacheWish, chooseCacheType, type CacheChoice } from './cache-choice.js';
import { checkObjective, isOwn } from './own-cost.js';
import { planPipeline } from './plan.js';
import { shareMemory } from './memory-shares.js';
import type { Plan, PlannerHost, PlannerInput, PlannerMember, PlanWishes } from './types.js';

/** What is to be run, and what it is to be best at. */
export interface PlannerInputOptions {
  readonly spec: ModelSpec;
  /** Slots of the KV arena, in tokens. */
  readonly arenaSlots: number;
  /** Most rows of one step. */
  readonly rowsMax: number;
  readonly wishes: PlanWishes;
  /** Sequences that run at once. */
  readonly concurrency: number;
}

interface ModelPlannerOptions extends PlannerInputOptions {
  /** One of `cacheTypes`; by default `auto`, the fastest whose loss is allowed. */
  readonly kvCacheType?: string | undefined;
  readonly observe: Observer;
}

export interface ModelPlanner {
  /** @throws ButterflyError MODEL_TOO_LARGE when these members cannot hold the model. */
  readonly plan: (members: readonly PlannerMember[], link: PlannerInput['link']) => Plan;
  /** Type of the cache that a plan for these members would have. */
  readonly cacheTypeOf: (members: readonly PlannerMember[]) => CacheType;
}

/**
 * Makes plans, all with one type of cache: the one that is best for the workers of the first plan. A later plan with
 * another type would change the numbers of requests under way.
 * @throws ButterflyError CONFIG_INVALID for a type that there is not, or that this model cannot have, for what is no objective,
 * and for one of one's own with several replicas
 */
export function modelPlanner(options: ModelPlannerOptions): ModelPlanner {
  const { spec, observe, wishes, kvCacheType = 'auto' } = options;
  checkWishes(wishes);
  checkCacheWish(spec, kvCacheType);
  let choice: CacheChoice | null = null;
  const choose = (members: readonly PlannerMember[]): CacheChoice =>
    choice ?? cacheTypeFor(spec, members, kvCacheType);
  return {
    plan: (members, link) => {
      const { type, reason } = choose(members);
      const plan = planPipeline(plannerInput(options, members, link, type));
      if (!choice) observe({ kind: 'cacheTypeChosen', cacheType: type, reason });
      choice = { type, reason };
      return plan;
    },
    cacheTypeOf: (members) => choose(members).type,
  };
}

function checkWishes({ objective, replicasMax }: PlanWishes): void {
  checkObjective(objective);
  if (isOwn(objective) && replicasMax > 1)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `The objective "${objective.name}" judges one pipeline, and ${replicasMax} replicas are several; leave out one of both.`,
      { param: 'objective' },
    );
}

/**
 * The type of cache that is best for these workers, and why.
 * @throws ButterflyError CONFIG_INVALID for a type that there is not, or that this model cannot have
 */
export function cacheTypeFor(
  spec: ModelSpec,
  members: readonly PlannerMember[],
  wanted = 'auto',
): CacheChoice {
  checkCacheWish(spec, wanted);
  return chooseCacheType(
    members.map(({ profile }) => profile),
    spec,
    wanted,
  );
}

/** What the planner is to know of a model and of workers that have measured themselves. */
export function plannerInput(
  options: PlannerInputOptions,
  members: readonly PlannerMember[],
  link: PlannerInput['link'],
  cacheType: CacheType,
): PlannerInput {
  const { spec, arenaSlots, concurrency } = options;
  const { objective, stagesMin, spares } = options.wishes;
  const kinds = layerKinds(spec);
  const experts = expertBytes(spec);
  const { workBytes, expertWorkBytes } = computeBytes(options);
  const hostOverheadBytes = processBytes + samplingBytes(spec) + expertWorkBytes;
  // A card takes of the memory beside it what it could use at most, and leaves the rest to others.
  const usableBytes = hostOverheadBytes + inputBytes(spec) + sumOf(experts);
  const shares = shareMemory(members, usableBytes);
  return {
    model: {
      name: spec.name,
      layerBytes: layerBytes(spec),
      expertBytes: experts,
      layerKinds: kindOfLayers(kinds),
      layerWords: layerWords(spec),
      inputBytes: inputBytes(spec),
      outputBytes: outputBytes(spec),
      cacheType,
      // States and rooms take the same memory however long sequences are; counted here, they are part of the cache.
      kvBytesPerSlot: spec.attention.map(
        (_, layer) =>
          (cacheBytes(spec, layer, { arenaSlots, type: cacheType }) + stateBytes(spec, layer)) / arenaSlots,
      ),
      arenaSlots,
      overheadBytes: processBytes + workBytes + samplingBytes(spec) + everyStageBytes(spec),
      deviceOverheadBytes: workBytes + everyStageBytes(spec),
      hostOverheadBytes,
      activationBytes: activationBytes(spec),
      joinedLayers: joinedLayers(spec),
    },
    workers: members.map((member) => {
      const { workerId, name, profile } = member;
      const { memoryBytes, hostBytes } = shares(member);
      const curvesByKind = timesOfKinds(kinds, profile);
      return {
        workerId,
        name,
        memoryBytes,
        layerCurve: profile.layerCurve,
        curvesByKind,
        outputCurve: profile.outputCurve,
        ...(member.host
          ? { host: hostOf(member, hostBytes, timesOfKinds(kinds, profile.hostExperts ?? profile)) }
          : {}),
      };
    }),
    link,
    objective,
    concurrency,
    stagesMin,
    spares,
  };
}

function hostOf(
  { host }: PlannerMember,
  memoryBytes: number,
  curvesByKind: PlannerHost['curvesByKind'],
): PlannerHost {
  return { memoryBytes, experts: host?.experts ?? 'device', curvesByKind };
}

/** Buffers for intermediates of the largest step: of a whole stage, and of experts alone. */
function computeBytes({ spec, rowsMax }: PlannerInputOptions): {
  readonly workBytes: number;
  readonly expertWorkBytes: number;
} {
  const hiddenBytes = Math.max(spec.hidden * 4, activationBytes(spec));
  const widestBytes = 4 * widestLayer(spec) * 3;
  const hasExperts = spec.tensors.some(isOfExperts);
  return {
    workBytes: rowsMax * (hiddenBytes * 8 + widestBytes),
    expertWorkBytes: hasExperts ? rowsMax * widestBytes : 0,
  };
}

/** The runtime and its libraries. */
const processBytes = 128 * 2 ** 20;

/** Logits of some rows. */
function samplingBytes({ vocabulary }: ModelSpec): number {
  return vocabulary * 4 * 16;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Numbers of a row that are the most at once in a layer: what its widest matrix gives, for all experts that are used. */
function widestLayer({ tensors, graph }: ModelSpec): number {
  const used = (graph.kind === 'imported' ? graph.experts?.used : null) ?? 1;
  const widths = tensors
    .filter(({ name }) => name.startsWith('blk.'))
    .map(
      ({ shape: [columns = 1, rows = 1, matrices = 1] }) =>
        Math.max(columns, rows) * Math.min(matrices, used),
    );
  return widths.reduce((widest, width) => Math.max(widest, width), 1);
}
