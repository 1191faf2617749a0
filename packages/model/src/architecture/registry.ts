import type { Graph } from '@butterfly/ggml';
import type { Architecture, ModelSpec } from '../spec/spec.js';
import type { BatchShape } from './batch-shape.js';
import {
  LlamaFamilyBuilder,
  type LayerCache,
  type StageInputs,
  type StageOutputs,
  type StageWeights,
} from './llama-family.js';

/** Turns a stage's weights, caches and inputs into the operations of one step. */
export type StageBuilder = (
  graph: Graph,
  spec: ModelSpec,
  weights: StageWeights,
  caches: readonly LayerCache[],
  batch: BatchShape,
  inputs: StageInputs,
) => StageOutputs;

const llamaFamily: StageBuilder = (graph, spec, weights, caches, batch, inputs) =>
  new LlamaFamilyBuilder(graph, spec, weights, caches, batch, inputs).build();

/** The builder of each `general.architecture`. */
const builders: Readonly<Record<Architecture, StageBuilder>> = {
  llama: llamaFamily,
  qwen2: llamaFamily,
  qwen3: llamaFamily,
};

export function stageBuilder(architecture: Architecture): StageBuilder {
  return builders[architecture];
}

/** An upper bound of the tensors, views included, that a builder makes for a step. */
export function graphTensorsMax(layers: number, batch: BatchShape): number {
  const perLayer = 48;
  const perSpanAndLayer = 10;
  return 64 + batch.spans.length + layers * (perLayer + perSpanAndLayer * batch.spans.length);
}
