export { surveyInChild } from './child.js';
export { describeAny, describeImported, headerOf, surveyRequest } from './describe.js';
export type { SurveyRequest } from './describe.js';
export type { FindWeight } from './graph-builder.js';
export { StageGraphs } from './stage-graph.js';
export type { ImportedWeight } from './stage-graph.js';
export type { GraphSurvey } from './survey.js';
