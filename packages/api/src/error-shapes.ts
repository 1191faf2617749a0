import type { ButterflyError } from '@butterfly/common';
import { anthropicErrorBody } from './anthropic/error-body.js';
import { isBelow } from './http/path.js';
import { ollamaErrorBody } from './ollama/error-body.js';
import { errorBody } from './openai/error-body.js';

/** What a client of the path reads as an error: each dialect has a shape of its own. */
export function errorShape(path: string, error: ButterflyError, status: number, requestId: string): object {
  if (isBelow(path, '/v1/messages')) return anthropicErrorBody(error, status, requestId);
  if (isBelow(path, '/api')) return ollamaErrorBody(error);
  return errorBody(error);
}
