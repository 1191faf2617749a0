export { markerVocabulary } from './marker-vocabulary.js';
export { toolTemplates } from './tool-templates.js';
export type { ToolFamilyName } from './tool-templates.js';
