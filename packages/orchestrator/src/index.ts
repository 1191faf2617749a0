export { Orchestrator } from './orchestrator.js';
export type { OrchestratorOptions } from './orchestrator.js';
export type { WorkerView } from './cluster/worker-link.js';
export type { StepTrace } from './engine/engine.js';
export type {
  Engine,
  EngineStatus,
  GenerateEvent,
  GenerateRequest,
  Generation,
  RequestTiming,
} from './engine/types.js';
