import { silentLogger, toButterflyError } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { surveyModel, type SurveyAnswer, type SurveyRequest } from './survey-model.js';

/** Answers one request of its parent, and ends. */
function answer(request: SurveyRequest): SurveyAnswer {
  try {
    return {
      kind: 'surveyed',
      survey: surveyModel(
        loadGgml({ directory: process.argv[2], areChecked: true, log: silentLogger }),
        request,
      ),
    };
  } catch (thrown) {
    const { code, message } = toButterflyError(thrown);
    return { kind: 'refused', code, message };
  }
}

process.once('message', (request: SurveyRequest) => {
  process.send?.(answer(request), () => process.exit(0));
});
