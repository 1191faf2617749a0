export { markers, samples, splitMarkers, tools } from './samples.js';
export type { Sample } from './samples.js';
