export { Orchestrator } from './orchestrator.js';
export type { OrchestratorOptions } from './orchestrator.js';
export { FileServer } from './cluster/file-server.js';
export type { WorkerView } from './cluster/worker-link.js';
export type { HttpSettings } from './api/context.js';
export { startApi } from './api/listening.js';
export type { ListeningApi } from './api/listening.js';
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
export { defaultRowsMax } from './cluster/cluster.js';
export { assumedLink, loopbackLink } from './cluster/link-table.js';
export { workerStates } from './cluster/worker-states.js';
export type { ClusterDescription, ReplicaDescription, WorkerDescription } from './api/cluster-view.js';
export { explainPlan } from './planning/explain.js';
export { cacheTypeFor, plannerInput } from './planning/model-planner.js';
export type { PlannerInputOptions, PlannerMember } from './planning/model-planner.js';
export { drawPlan } from './planning/picture.js';
export type { MeasuredPlan } from './planning/picture.js';
export { planPipeline } from './planning/plan.js';
export { planReplicas } from './planning/replicas.js';
export { objectives } from './planning/types.js';
export type { Link, Objective, Plan, PlannerInput } from './planning/types.js';
