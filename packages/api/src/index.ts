export type { ApiAccess, HttpSettings, ModelFacts } from './context.js';
export type { CertificateFiles } from './http/served-certificate.js';
export { startApi } from './server.js';
export type { ListeningApi } from './server.js';
