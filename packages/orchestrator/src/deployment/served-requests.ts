import { limits } from '@butterfly/common';
import type { EngineModel } from '@butterfly/engine';
import type { ModelSpec } from '@butterfly/model';
import { poolings } from '@butterfly/wire';

/** Rows of one step when nothing else is asked for, as llama.cpp's default batch. */
const defaultRowsMax = Math.min(512, limits.stepRowsMax);

/** Most rows of one step. An encoder takes a text as a whole, so that its steps must hold one as long as the context. */
export function stepRowsMax({ isEncoder }: Pick<ModelSpec, 'isEncoder'>, contextTokens: number): number {
  return isEncoder ? Math.min(limits.stepRowsMax, Math.max(defaultRowsMax, contextTokens)) : defaultRowsMax;
}

/** What may be asked of a model. */
export function engineModel({
  isEncoder,
  embedding,
}: Pick<ModelSpec, 'isEncoder' | 'embedding'>): EngineModel {
  const ranks = embedding?.ranks ?? null;
  return {
    // The file of a reranker asks for scores, whatever else its graph could give.
    generates: !isEncoder && ranks === null,
    isEncoder,
    poolings: embedding === null ? [] : poolings.filter((each) => each !== 'rank' || ranks !== null),
    usualPooling: embedding?.pooling ?? (isEncoder ? 'mean' : 'last'),
  };
}
