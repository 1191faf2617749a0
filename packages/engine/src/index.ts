export { ConstraintDesk } from './constraints/constraint-desk.js';
export type { NumberedConstraint } from './constraints/constraint-desk.js';
export type { DraftModel } from './draft-guesser.js';
export { PipelineEngine } from './engine.js';
export type { Pipeline } from './engine.js';
export { EngineLedger } from './ledger.js';
export type { SpeedFigures } from './measured-speed.js';
export { ReplicatedEngine } from './replicated-engine.js';
export type { EngineReplica } from './replicated-engine.js';
export { sharedTokens } from './guesses/shared-tokens.js';
export type { DraftFigures } from './guesses/wanted-guesses.js';
export type { PlannedStep, SchedulerConfig, SchedulerStats } from './scheduler/scheduler-types.js';
export { Scheduler } from './scheduler/scheduler.js';
export { vectorOf } from './generation.js';
export type {
  EmbedEvent,
  EmbedRequest,
  Embedder,
  Embedding,
  Engine,
  EngineModel,
  EngineStatus,
  GenerateEvent,
  TokenLogprobs,
  GenerateRequest,
  Generation,
} from './types.js';
