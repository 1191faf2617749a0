export { modelsDirectory, workerDirectory } from './directories.js';
export { Hub } from './hub/hub.js';
export { pull } from './hub/pull.js';
export type { Pulled } from './hub/pull.js';
export { findPulled } from './hub/pulled.js';
export { parseHubReference } from './hub/reference.js';
export { tellParent } from './last-words.js';
export { logFormats } from './log-formats.js';
export type { LogFormat } from './log-formats.js';
export {
  availableMemoryBytes,
  checkThreads,
  defaultCacheBytes,
  deviceMemoryBytes,
  threadsPerWorker,
  warnOfCrowding,
} from './machine.js';
export { contextTokens, openModel, ownModel, readModelSpec, resolveModelPath, servedModel } from './model.js';
export type { OpenedModel } from './model.js';
export { usualLocalDevices } from './local-devices.js';
export { startServing } from './serving.js';
export type { WorkerProgram } from './local-workers.js';
export type { Serving } from './serving.js';
