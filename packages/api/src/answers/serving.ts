import type { ApiContext } from '../context.js';
import type { ResumableAnswers } from './resumable-answers.js';

/** What routes answer from: what the API serves, and the answers that clients may come back to. */
export interface ApiServing extends ApiContext {
  readonly resumables: ResumableAnswers;
}
