export { faultySequences } from './faults.js';
export type { FaultOrigin, StageFaults } from './faults.js';
export { canCache, dtypeOf } from './kv-cache.js';
export { StageRuntime } from './runtime.js';
export { SplitModel } from './split-model.js';
export type { Stage, StageFactory, StageRequest, StageResult, StageSampler } from './stage.js';
export type { ModelCurves } from './step-curve.js';
export { decodingStep, measureCurve, plausible } from './step-measurement.js';
export type { MeasuredCurve } from './step-measurement.js';
