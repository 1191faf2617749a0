export type { HttpSettings, ModelFacts } from './context.js';
export { startApi } from './server.js';
export type { ListeningApi } from './server.js';
