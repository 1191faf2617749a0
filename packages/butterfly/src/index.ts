export { createCluster } from './cluster/cluster.js';
export type { ChatRequest, Cluster, EmbedOptions, TextRequest } from './cluster/cluster.js';
export type { Answer } from './cluster/answers.js';
export type { ClusterOptions } from './cluster/options.js';
export { ButterflyError } from '@butterfly/common';
export type { ButterflyEvent } from '@butterfly/common';
export type { Embeddings, OutputEvent, WholeAnswer } from '@butterfly/generation';
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
  openModel,
  ownModel,
  readModelSpec,
  resolveModelPath,
  servedModel,
} from './models/model.js';
export { windowCaches } from '@butterfly/llama-graph';
export type { WindowCache } from '@butterfly/llama-graph';
export type { OpenedModel } from './models/model.js';
export { openApiAccess } from './api-access.js';
export type { HttpOptions } from './http-api.js';
export { startServing } from './serving.js';
export type { Serving } from './serving.js';
export type { ModelSource } from './serving-options.js';
export { vectorOf } from '@butterfly/engine';
export type { EmbedEvent, EmbedRequest, Embedder, Embedding, EngineModel } from '@butterfly/engine';
