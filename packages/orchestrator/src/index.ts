export { Orchestrator } from './orchestrator.js';
export type { OrchestratorOptions } from './orchestrator.js';
export type { WorkerView } from './cluster/worker-link.js';
export { Scheduler } from './engine/scheduler.js';
export type { PlannedStep, SchedulerConfig, SchedulerRequest } from './engine/scheduler-types.js';
export { StepCurve } from './engine/step-curve.js';
export type { StepTrace } from './engine/engine.js';
export type {
  Engine,
  EngineStatus,
  GenerateEvent,
  GenerateRequest,
  Generation,
  RequestTiming,
} from './engine/types.js';
