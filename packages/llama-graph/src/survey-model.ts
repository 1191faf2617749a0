import { HeaderModel, dtype, type Ggml } from '@butterfly/ggml';
import { surveyContextTokens, surveyGraph, surveyRowsMax, type GraphSurvey } from './survey.js';

/** What a survey needs of a file. */
export interface SurveyRequest {
  /** As `graphHeader` makes it. */
  readonly header: Uint8Array;
  readonly names: readonly string[];
  /** Whether windows are chunks. */
  readonly isChunked: boolean;
}

/**
 * Surveys a model in this process, which llama.cpp ends on metadata that contradicts itself: see `surveyInChild`.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function surveyModel(ggml: Ggml, { header, names, isChunked }: SurveyRequest): GraphSurvey {
  const options = { header, rowsMax: surveyRowsMax, cacheType: dtype.F16 };
  using first = new HeaderModel(ggml, { ...options, contextTokens: surveyContextTokens(0) });
  const known = { names: new Set(names), isChunked };
  if (first.windowTokens === 0) return surveyGraph(first, known);
  using wide = new HeaderModel(ggml, {
    ...options,
    contextTokens: surveyContextTokens(first.windowTokens),
  });
  return surveyGraph(wide, known);
}
