export { Collector } from './collector.js';
export type { CollectedSpan } from './collector.js';
