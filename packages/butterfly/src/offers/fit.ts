import { toButterflyError } from '@butterfly/common';
import { type ModelSpec, activeBytes, cacheBlockSlots, layerKinds, outputBytes } from '@butterfly/model';
import { loopbackLink, stepRowsMax } from '@butterfly/orchestrator';
import {
  type PlannerInput,
  type PlannerMember,
  planPipeline,
  plainWishes,
  plannerInput,
} from '@butterfly/planning';
import { servedModel } from '../models/model.js';
import type { CatalogueModel } from './catalogue.js';

/** What of a machine decides which models it can hold. */
export interface MemoryFacts {
  /** The graphics cards that have a worker each, with what may be taken of their memory. */
  readonly cards: readonly { readonly name: string; readonly memoryBytes: number }[];
  /** What may be taken of the memory beside them. */
  readonly hostBytes: number;
}

/** Where workers of this machine would hold a model. */
export interface Fit {
  /** On all cards, with experts beside them where they do not fit there; or on the CPU. */
  readonly place: 'cards' | 'cpu';
  /** Contexts at once that there is room for. */
  readonly parallel: number;
}

/** What a person is to have at least. */
export const offeredContextTokens = 4096;
/** Contexts at once, the most that there is room for first: `serve` has four if nobody says otherwise. */
const parallels = [4, 2, 1] as const;

/**
 * What the planner sets aside for each worker of a model whose file is not here yet: 128 MiB of its process and libraries, and
 * buffers of the largest step, which are some 300 MiB for a model of 70B.
 */
const overheadBytes = 512 * 2 ** 20;
/** A card holds whole layers: so much of the weights is left over on each further one. */
const layerShare = 0.05;

/** The memory that a model of the catalogue takes: its file, the cache of its contexts, and what a worker needs itself. */
export function catalogueNeedBytes(
  { bytes, cacheBytesPerToken, contextTokens }: CatalogueModel,
  parallel = 1,
): number {
  const tokens = Math.min(contextTokens, offeredContextTokens);
  return bytes + cacheBytesPerToken * tokens * parallel + overheadBytes;
}

/** Where a model would lie whose file is not here yet, by its sizes alone; null where there is no room. */
export function fitOfCatalogue(model: CatalogueModel, facts: MemoryFacts): Fit | null {
  return bestFit(facts, (place, parallel) => {
    const bytes = catalogueNeedBytes(model, parallel) - overheadBytes;
    const besideBytes = facts.hostBytes - overheadBytes;
    if (place === 'cpu') return bytes <= besideBytes;
    const further = (facts.cards.length - 1) * layerShare * model.bytes;
    const onCards =
      facts.cards.reduce((sum, card) => sum + Math.max(0, card.memoryBytes - overheadBytes), 0) - further;
    const expertBytes = model.experts?.bytes ?? 0;
    return (
      bytes <= onCards || (bytes - expertBytes <= onCards && bytes <= onCards + Math.max(0, besideBytes))
    );
  });
}

/** Where a model would lie whose file is here, as the planner finds it; null where there is no room. */
export function fitOfSpec(described: ModelSpec, facts: MemoryFacts): Fit | null {
  return bestFit(facts, (place, parallel) => {
    try {
      planPipeline(inputFor(described, membersOf(place, facts), parallel));
      return true;
    } catch (error) {
      if (toButterflyError(error).code === 'MODEL_TOO_LARGE') return false;
      throw error;
    }
  });
}

/** The memory that a model takes whose file is here, in one worker, by the planner's figures. */
export function specNeedBytes(described: ModelSpec): number {
  const { model } = inputFor(described, membersOf('cpu', { cards: [], hostBytes: 0 }), 1);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return (
    sum(model.layerBytes) +
    model.inputBytes +
    model.outputBytes +
    sum(model.kvBytesPerSlot) * model.arenaSlots +
    model.overheadBytes
  );
}

/** Bytes of the weights that a token is computed with. */
export function bytesPerToken(spec: ModelSpec): number {
  return layerKinds(spec).reduce(
    (sum, kind) => sum + kind.layers.length * activeBytes(kind),
    outputBytes(spec),
  );
}

/** The same for a model of the catalogue. */
export function catalogueBytesPerToken({ bytes, experts }: CatalogueModel): number {
  return experts ? bytes - experts.bytes * (1 - experts.used / experts.count) : bytes;
}

/** Cards first, even for fewer contexts: they are the faster ones. */
function bestFit(
  { cards }: MemoryFacts,
  holds: (place: Fit['place'], parallel: number) => boolean,
): Fit | null {
  for (const place of cards.length > 0 ? (['cards', 'cpu'] as const) : (['cpu'] as const)) {
    const parallel = parallels.find((contexts) => holds(place, contexts));
    if (parallel !== undefined) return { place, parallel };
  }
  return null;
}

function inputFor(described: ModelSpec, members: readonly PlannerMember[], parallel: number): PlannerInput {
  const tokens = Math.min(described.contextTrained, offeredContextTokens);
  const spec = servedModel(described, {
    contextTokens: tokens,
    parallel,
    checkpoints: undefined,
    windowCache: 'auto',
    mtp: 'off',
  });
  const options = {
    spec,
    arenaSlots: Math.ceil(tokens / cacheBlockSlots) * cacheBlockSlots * parallel,
    rowsMax: stepRowsMax(spec, tokens),
    concurrency: parallel,
    wishes: plainWishes,
  };
  // Nothing that a worker chooses takes more than F16.
  return plannerInput(options, members, () => ({ ...loopbackLink, isRelayed: false }), 'f16');
}

/** Whether a model fits does not depend on speeds, so that any will do. */
const anyCurve = [{ rows: 1, micros: 1 }];
const profile: PlannerMember['profile'] = {
  layerCurve: anyCurve,
  outputCurve: anyCurve,
  attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
};

function membersOf(place: Fit['place'], { cards, hostBytes }: MemoryFacts): PlannerMember[] {
  if (place === 'cpu') return [{ workerId: 'cpu', name: 'cpu', memoryBytes: hostBytes, profile }];
  const host = { memoryBytes: hostBytes, memoryOf: 'here', experts: 'auto' as const };
  return cards.map(({ name, memoryBytes }) => ({ workerId: name, name, memoryBytes, host, profile }));
}
