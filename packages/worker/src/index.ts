export { AwakeCores } from './awake-cores.js';
export { nativeMachine } from './control/native.js';
export type { Machine, Profiler } from './control/native.js';
export { Worker } from './control/worker.js';
export type { WorkerOptions } from './control/worker.js';
export { describeWorker } from './profile/capabilities.js';
export type { HostOffer } from './profile/capabilities.js';
export { machineId } from './profile/machine-id.js';
