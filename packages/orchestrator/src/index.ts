export { FileServer } from './fleet/file-server.js';
export type { WorkerView } from './fleet/fleet-worker.js';
export { assumedLink, loopbackLink } from './links/link-table.js';
export { stepRowsMax } from './deployment/served-requests.js';
export { Orchestrator } from './orchestrator.js';
export type { Capacity, Numerics, OrchestratorOptions } from './orchestrator.js';
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
} from './view/cluster-view.js';
// What descriptions are made of.
export { workerStates } from '@butterfly/control';
export type { WorkerState } from '@butterfly/control';
export { cacheTypes } from '@butterfly/wire';
export type { CacheType } from '@butterfly/wire';
