export { describeWorker } from './capabilities.js';
export { LocalSource } from './loading/local-source.js';
export type { TensorSource } from './loading/tensor-source.js';
export { StageRuntime } from './stage/runtime.js';
export type { StageOptions, StageResult } from './stage/runtime.js';
export { Worker } from './worker.js';
export type { WorkerOptions } from './worker.js';
export { SplitModel } from './split-model.js';
