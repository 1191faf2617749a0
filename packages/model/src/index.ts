export { evenLayout, plainLayout } from './architecture/attention-layout.js';
export type { AttentionSpan, SpanLayout } from './architecture/attention-layout.js';
export { batchKey } from './architecture/batch-shape.js';
export type { BatchShape } from './architecture/batch-shape.js';
export type { LayerCache, StageInputs, StageOutputs, StageWeights } from './architecture/llama-family.js';
export { graphTensorsMax, stageBuilder } from './architecture/registry.js';
export { arrangeWeights, weightUse } from './architecture/weights.js';
export type { WeightUse } from './architecture/weights.js';
export { checkFiles, fileStamp, settledStamp, stampOf } from './gguf/file-stamp.js';
export { openGguf } from './gguf/gguf-file.js';
export { sampleWeights } from './gguf/weight-sample.js';
export { drawFraction } from './sampling.js';
export { describeModel } from './spec/describe.js';
export { cacheBlockSlots, cacheBytesPerSlot } from './spec/kv-cache-size.js';
export {
  inputBytes,
  layerBytes,
  operationsPerToken,
  outputBytes,
  parameterCount,
  quantisation,
  shardTensors,
} from './spec/layer-tensors.js';
export { modelFingerprint, parseModelSpec } from './spec/spec.js';
export type { ModelFile, ModelSpec, ModelTensor } from './spec/spec.js';
export { isTensorChunk, tensorChunks } from './spec/tensor-chunks.js';
