import { HeaderModel, dtype, type Ggml, type HeaderModelOptions } from '@butterfly/ggml';
import {
  surveyContextTokens,
  surveyGraph,
  surveyRowsMax,
  surveySequencesMax,
  type GraphSurvey,
} from './survey.js';
import { surveyHead } from './heads/head-survey.js';
import { tryGraphs } from './trial.js';

/** What a survey needs of a file. */
export interface SurveyRequest {
  /** As `graphHeader` makes it. */
  readonly header: Uint8Array;
  readonly names: readonly string[];
  /** Whether windows are chunks. */
  readonly isChunked: boolean;
  /** Whether the file says that its embeddings are scores. */
  readonly isRanking: boolean;
  /** Whether it has a layer that predicts the token after the next one, which llama.cpp builds the graph of. */
  readonly hasHead: boolean;
}

/** What a process of its own says of a model. */
export type SurveyAnswer =
  | { readonly kind: 'surveyed'; readonly survey: GraphSurvey }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

/**
 * Surveys a model in this process, which llama.cpp ends on metadata that contradicts itself: see `surveyInChild`.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function surveyModel(ggml: Ggml, request: SurveyRequest): GraphSurvey {
  const { header, names, isChunked, isRanking } = request;
  const options = {
    header,
    rowsMax: surveyRowsMax,
    cacheType: dtype.F16,
    contextTokens: surveyContextTokens(0),
    isRanking,
  };
  const known = { names: new Set(names), isChunked, isRanking };
  using first = new HeaderModel(ggml, options);
  if (first.windowTokens === 0) {
    const survey = surveyWith(ggml, first, known, options);
    return request.hasHead ? { ...survey, head: surveyHead(ggml, options, known.names) } : survey;
  }
  const wide = { ...options, contextTokens: surveyContextTokens(first.windowTokens) };
  using second = new HeaderModel(ggml, wide);
  return surveyWith(ggml, second, known, wide);
}

function surveyWith(
  ggml: Ggml,
  model: HeaderModel,
  known: Parameters<typeof surveyGraph>[1],
  options: HeaderModelOptions,
): GraphSurvey {
  const survey = surveyGraph(model, known);
  const trial = { survey, names: known.names };
  if (survey.states.every(({ length }) => length === 0)) tryGraphs(ggml, model, trial);
  else {
    // Stages have graphs of several sequences where states join rows, and only there.
    using several = new HeaderModel(ggml, { ...options, sequencesMax: surveySequencesMax });
    tryGraphs(ggml, several, trial);
  }
  return survey;
}
