export { hostMicros, stageTime, linksMicros } from './cost.js';
export { explainPlan } from './explain.js';
export { cacheTypeFor, modelPlanner, plannerInput } from './model-planner.js';
export type { PlannerInputOptions } from './model-planner.js';
export { drawPlan } from './picture.js';
export type { MeasuredPlan } from './picture.js';
export { planPipeline } from './plan.js';
export { repairPlan } from './repair.js';
export { holds } from './stage-memory.js';
export { planReplicas, speedsOfReplicas } from './replicas.js';
export type { ReplicaGroups } from './replicas.js';
export { checkObjective, isOwn, objectiveInWords } from './own-cost.js';
export { expertWishes, objectives, plainWishes } from './types.js';
export type {
  ExpertWish,
  JudgedPlan,
  JudgedStage,
  Link,
  MemberHost,
  Objective,
  OwnCost,
  OwnObjective,
  Plan,
  PlanStage,
  PlannerInput,
  PlannerMember,
  PlanWishes,
  Prediction,
} from './types.js';
