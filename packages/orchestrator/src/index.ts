export { FileServer } from './fleet/file-server.js';
export { assumedLink, loopbackLink } from './links/link-table.js';
export { engineModel, stepRowsMax } from './deployment/served-requests.js';
export { DeployedModel } from './deployed-model.js';
export type { Capacity, DraftOptions, ModelOptions, Numerics } from './deployed-model.js';
export { Orchestrator } from './orchestrator.js';
export type { OrchestratorOptions } from './orchestrator.js';
export type {
  ClusterDescription,
  ClusterView,
  DrainDescription,
  HostDescription,
  LinkDescription,
  ProfileDescription,
  ReplicaDescription,
  VerificationDescription,
  WorkerDescription,
  WorkerView,
} from './view/cluster-view.js';
// What descriptions are made of.
export { workerStates } from '@butterfly/control';
export type { WorkerState } from '@butterfly/control';
export { cacheTypes } from '@butterfly/wire';
export type { CacheType } from '@butterfly/wire';
