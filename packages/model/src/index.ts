export {
  batchKey,
  cacheBlockSlots,
  cacheBytesPerSlot,
  evenLayout,
  plainLayout,
} from './architecture/batch.js';
export type { AttentionSpan, BatchShape, SpanLayout } from './architecture/batch.js';
export type { LayerCache, StageInputs, StageOutputs, StageWeights } from './architecture/llama-family.js';
export { graphTensorsMax, stageBuilder } from './architecture/registry.js';
export type { StageBuilder } from './architecture/registry.js';
export { arrangeWeights, weightUse } from './architecture/weights.js';
export type { WeightUse } from './architecture/weights.js';
export { openGguf } from './gguf/gguf-file.js';
export type { GgufFile } from './gguf/gguf-file.js';
export {
  inputBytes,
  layerBytes,
  operationsPerToken,
  outputBytes,
  parameterCount,
  quantisation,
  shardTensors,
} from './gguf/shard.js';
export { chunksOf, isChunk } from './gguf/chunks.js';
export { checkFiles, fileStamp, settledStamp, stampOf } from './gguf/file-stamp.js';
export { sampleWeights } from './gguf/weight-sample.js';
export { describeModel } from './gguf/describe.js';
export { architectures, modelFingerprint, parseModelSpec } from './gguf/spec.js';
export type { Architecture, ModelFile, ModelSpec, ModelTensor } from './gguf/spec.js';
export { drawFraction } from './sampling.js';
export { Arena } from './arena.js';
export type { Region } from './arena.js';
export { PrefixIndex } from './prefix-index.js';
export type { PrefixMatch, TokenReader } from './prefix-index.js';
export { PromptMaker } from './prompt.js';
export type { PromptText } from './prompt.js';
export { ChatTemplate } from './chat-template.js';
export type { ChatMessage } from './chat-template.js';
export { IncrementalDetokenizer, StopMatcher } from './detokenizer.js';
