export type {
  ControllerAction,
  ControllerConfig,
  ControllerEvent,
  EpochPlan,
  Joining,
} from './controller-types.js';
export { Controller } from './controller.js';
export type { Claim, Member } from './members.js';
export { EpochNumbers, SharedByControllers } from './shared-by-controllers.js';
export { describeReplicas, replicasInUse } from './status-descriptions.js';
export { targetOf } from './target.js';
export { workerStates } from './worker-states.js';
export type { WorkerState } from './worker-states.js';
