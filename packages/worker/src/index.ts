export { LocalSource } from './loading/local-source.js';
export type { TensorSource } from './loading/tensor-source.js';
export { StageRuntime } from './stage/runtime.js';
export type { StageOptions, StageResult } from './stage/runtime.js';
