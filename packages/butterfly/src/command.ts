// What the command line needs of this package beside the library: parts of it, which may change with any release.
export { installBackend, isInstalled, installedFile, removeBackend } from './backends/install.js';
export { backendPackages } from './backends/packages.js';
export type { BackendPackage } from './backends/packages.js';
export { surveysDirectory } from './directories.js';
export { Hub } from './hub/hub.js';
export { pull } from './hub/pull.js';
export type { Pulled } from './hub/pull.js';
export { findPulled } from './hub/pulled.js';
export { parseHubReference } from './hub/reference.js';
export {
  contextTokens,
  mtpWishes,
  openModel,
  ownModel,
  readModelSpec,
  resolveModelPath,
  servedModel,
} from './models/model.js';
export { windowCaches } from '@butterfly/llama-graph';
export type { MtpWish } from './models/model.js';
export type { WindowCache } from '@butterfly/llama-graph';
export type { OpenedModel } from './models/opened-model.js';
export { readCatalogue } from './offers/catalogue.js';
export { localModels } from './offers/local-models.js';
export { offers } from './offers/offers.js';
export type { Misfit, Offer, OfferFacts, Offers } from './offers/offers.js';
export { openApiAccess } from './api-access.js';
export type { HttpOptions, JournalWishes } from './http-api.js';
export { openServerMetrics } from './server-metrics.js';
export { openServerTraces } from './server-traces.js';
export { startServing } from './serving.js';
export type { Serving } from './serving.js';
export type { ModelSource } from './serving-options.js';
export { vectorOf } from '@butterfly/engine';
export type { EmbedEvent, EmbedRequest, Embedder, Embedding, EngineModel } from '@butterfly/engine';
