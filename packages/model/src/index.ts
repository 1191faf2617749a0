export { cachedOf, evenLayout, groupedQueries, plainLayout } from './architecture/attention-layout.js';
export type { AttentionSpan, CachedTokens, SpanLayout } from './architecture/attention-layout.js';
export { batchKey, rowGroups } from './architecture/batch-shape.js';
export type { BatchShape, PooledRows, RowGroup } from './architecture/batch-shape.js';
export type { FamilyModel, StageWeights } from './architecture/llama-family.js';
export { LlamaFamilyBuilder, graphTensorsMax } from './architecture/llama-family.js';
export { fillMasks } from './architecture/masks.js';
export { poolTexts, tensorsOfPooling } from './architecture/pooling.js';
export { SpanAttention, spanMasks } from './architecture/span-attention.js';
export type {
  LayerCache,
  LayerStates,
  MaskInput,
  StateInput,
  StepGraph,
  StepInputs,
  StepOutputs,
} from './architecture/step-tensors.js';
export { arrangeWeights, weightUse } from './architecture/weights.js';
export type { WeightUse } from './architecture/weights.js';
export { checkFiles, fileStamp, settledStamp, stampOf } from './gguf/file-stamp.js';
export { openGguf, readGgufBytes } from './gguf/gguf-file.js';
export { sampleWeights } from './gguf/weight-sample.js';
export { drawFraction } from './sampling.js';
export { MetadataReader } from './gguf/metadata-reader.js';
export { architectureEntries, graphHeader } from './gguf/graph-header.js';
export type { GgufFile } from './gguf/gguf-file.js';
export { activationBytes, canCutAt, crossingWidth, joinedLayers, readsTokens } from './spec/cuts.js';
export {
  describeFamilyModel,
  readArchitecture,
  readPooling,
  readVocabulary,
  specOf,
} from './spec/describe.js';
export {
  cacheBlockSlots,
  cacheBytes,
  cacheBytesPerSlot,
  fitsRooms,
  stateBytes,
  stateBytesPerSlot,
  stateSlotsOf,
  typicalAttention,
  windowsOf,
  withoutRooms,
} from './spec/kv-cache-size.js';
export { hasHeadTensors, servedHead, withHead } from './spec/head.js';
export type { HeadSpec } from './spec/spec.js';
export { activeBytes, kindOfLayers, layerKinds, readBytes } from './spec/layer-kinds.js';
export type { LayerKind } from './spec/layer-kinds.js';
export { meanTimes, timedLayers, timesOfKinds } from './spec/layer-times.js';
export type { LayerWeights } from './spec/layer-kinds.js';
export type { KindTimes, LayerTimes, TimedLayers } from './spec/layer-times.js';
export { countedLayers, layerWords } from './spec/layer-words.js';
export {
  activeParameterCount,
  everyStageBytes,
  expertBytes,
  inputBytes,
  isOfExperts,
  layerBytes,
  layerOf,
  operationsPerToken,
  outputBytes,
  parameterCount,
  quantisation,
  shardTensors,
} from './spec/layer-tensors.js';
export { modelFingerprint, parseModelSpec } from './spec/spec.js';
export type {
  EmbeddingSpec,
  FamilyGraph,
  ImportedGraphSpec,
  LayerAttention,
  LayerState,
  ModelFile,
  ModelShape,
  ModelSpec,
  ModelTensor,
  WindowsOfModel,
} from './spec/spec.js';
export { isTensorChunk, tensorChunks } from './spec/tensor-chunks.js';
