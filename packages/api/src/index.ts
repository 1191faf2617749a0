export type { HttpSettings } from './context.js';
export { startApi } from './server.js';
export type { ListeningApi } from './server.js';
