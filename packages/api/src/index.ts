export type {
  ApiAccess,
  ClusterAdministration,
  HttpSettings,
  JoinWishes,
  ModelDirectory,
  ModelFacts,
  ModelState,
  ModelUse,
  OfferedModel,
  ServedModel,
} from './context.js';
export { soleModel } from './sole-model.js';
export type { CertificateFiles } from './http/served-certificate.js';
export { createFetchHandler, startApi } from './server.js';
export type { ListeningApi } from './server.js';
export type { FetchHandler } from './fetch-handler.js';
export type { ApiContext } from './context.js';
export { parseChatRequest, parseTextRequest } from './openai/parse.js';
