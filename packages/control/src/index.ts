export type {
  ControllerAction,
  ControllerConfig,
  ControllerEvent,
  EpochPlan,
  Joining,
} from './controller-types.js';
export { describeReplicas, replicasInUse } from './controller-words.js';
export { Controller } from './controller.js';
export type { Member } from './members.js';
export { SharedByControllers } from './shared-by-controllers.js';
export { targetOf } from './targets.js';
export { workerStates } from './worker-states.js';
export type { WorkerState } from './worker-states.js';
