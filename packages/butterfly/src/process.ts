// What every process of Butterfly needs of this package, workers too: without the API and all that comes with it.
export { checkInsecure } from './insecure.js';
export { backendsDirectory, dataDirectory, modelsDirectory, workerDirectory } from './directories.js';
export { tellParent } from './last-words.js';
export { localCards, usualLocalDevices } from './local-devices.js';
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
export { cpusOfWorkers } from './placement.js';
export { managements, WorkerProcesses } from './worker-processes.js';
export type { WorkerProcess, WorkerProgram } from './worker-processes.js';
