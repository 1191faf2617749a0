export { allowedCpus, coreOf, parseCpuList, pinToCpus } from './device/affinity.js';
export type { Backend } from './device/backend.js';
export { CpuBackend } from './device/cpu-backend.js';
export { findDevice, listDevices, openDevice, usualDevices } from './device/devices.js';
export type { Device, DeviceKind } from './device/devices.js';
export { NativeBuffer } from './device/buffer.js';
export type { BufferType } from './device/buffer.js';
export { dtype, rowBytes, typeTraits } from './graph/dtype.js';
export { ComputeAllocator, Graph } from './graph/graph.js';
export type { RopeParams } from './graph/graph.js';
export { moveRows } from './graph/move-rows.js';
export { Scheduler } from './graph/scheduler.js';
export { Softmax } from './graph/softmax.js';
export { TensorMemory } from './graph/tensor-memory.js';
export { shapeOf } from './graph/tensor.js';
export type { Shape, Tensor } from './graph/tensor.js';
export { CloningGraph } from './imported/cloning-graph.js';
export { HeaderModel } from './imported/header-model.js';
export type { HeaderModelOptions } from './imported/header-model.js';
export type { ImportedGraph } from './imported/imported-graph.js';
export { tensorFlags } from './imported/tensor-struct.js';
export { wantedTensors } from './imported/wanted-tensors.js';
export type { WantedTensor } from './imported/wanted-tensors.js';
export type { ImportedTensor } from './imported/tensor-struct.js';
export { cpuFeatures, expectedVersions, loadGgml, loadGpus } from './library/library.js';
export type { Ggml } from './library/library.js';
export { nativeObjects } from './library/native-objects.js';
export type { NativeKind } from './library/native-objects.js';
export { loadQuantizer, quantizeRows } from './training/quantize.js';
export type { Quantize } from './training/quantize.js';
export { TrainingGraph, adamwValues, adamwValuesShape } from './training/training.js';
export type { AdamwState } from './training/training.js';
export type {
  InfillTokens,
  SpecialToken,
  TokenizeOptions,
  Vocabulary,
} from './vocabulary/vocabulary-types.js';
export { loadVocabulary } from './vocabulary/vocabulary.js';
