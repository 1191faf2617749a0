export { surveyInChild } from './child.js';
export {
  describeAny,
  describeImported,
  headerOf,
  servedSpec,
  surveyRequest,
  windowCaches,
} from './describe.js';
export type { WindowCache } from './describe.js';
export type { FindWeight } from './leaves.js';
export { checkShape } from './refusal.js';
export { HeadGraphs } from './heads/head-graph.js';
export { StageGraphs } from './stage-graph.js';
export type { ImportedWeight } from './stage-graph.js';
export { SurveyCache } from './kept/survey-cache.js';
export { surveyModel } from './survey-model.js';
export type { GraphSurvey } from './survey.js';
export { TrialMemory } from './trial-memory.js';
