export { FileServer } from './fleet/file-server.js';
export type { WorkerView } from './fleet/fleet-worker.js';
export { assumedLink, loopbackLink } from './links/link-table.js';
export { stepRowsMax } from './deployment/served-requests.js';
export { Orchestrator } from './orchestrator.js';
export type { Capacity, DraftOptions, Numerics, OrchestratorOptions } from './orchestrator.js';
export type {
  ClusterDescription,
  VerificationDescription,
  ClusterView,
  ReplicaDescription,
  WorkerDescription,
} from './view/cluster-view.js';
