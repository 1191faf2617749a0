// What every process of Butterfly needs of this package, workers too: without the API and all that comes with it.
export { checkInsecure } from './insecure.js';
export { dataDirectory, modelsDirectory, workerDirectory } from './directories.js';
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
