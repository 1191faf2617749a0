import { silentLogger, toButterflyError } from '@butterfly/common';
import { HeaderModel, dtype, loadGgml } from '@butterfly/ggml';
import type { SurveyAnswer } from './child.js';
import type { SurveyRequest } from './describe.js';
import { surveyContextTokens, surveyGraph, surveyRowsMax, type GraphSurvey } from './survey.js';

/** Answers one request of its parent, and ends. */
function survey({ header, names, isChunked }: SurveyRequest): GraphSurvey {
  const ggml = loadGgml({ directory: process.argv[2], log: silentLogger });
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

function answer(request: SurveyRequest): SurveyAnswer {
  try {
    return { kind: 'surveyed', survey: survey(request) };
  } catch (thrown) {
    const { code, message } = toButterflyError(thrown);
    return { kind: 'refused', code, message };
  }
}

process.once('message', (request: SurveyRequest) => {
  process.send?.(answer(request), () => process.exit(0));
});
