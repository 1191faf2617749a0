import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ButterflyError, isErrorCode } from '@butterfly/common';
import type { SurveyAnswer, SurveyRequest } from './survey-model.js';
import type { GraphSurvey } from './survey.js';

/** A second is usual for the largest models. */
const surveyTimeoutMs = 120_000;
const wordsKept = 2_000;
const program = fileURLToPath(new URL('../dist/survey-main.js', import.meta.url));

/**
 * Surveys a model in a process of its own, because llama.cpp ends the process on metadata that contradicts itself.
 * @throws ButterflyError MODEL_UNSUPPORTED, MODEL_CORRUPT, TIMEOUT
 */
export async function surveyInChild(
  request: SurveyRequest,
  options: { readonly ggmlDirectory: string | undefined; readonly timeoutMs?: number },
): Promise<GraphSurvey> {
  const child = fork(program, options.ggmlDirectory === undefined ? [] : [options.ggmlDirectory], {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    execArgv: [],
  });
  let words = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-wordsKept);
  });
  const timeoutMs = options.timeoutMs ?? surveyTimeoutMs;
  const answer = await new Promise<SurveyAnswer>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(
        new ButterflyError('TIMEOUT', `llama.cpp did not read the model's metadata within ${timeoutMs} ms.`),
      );
    }, timeoutMs);
    child.once('error', (cause) => {
      clearTimeout(timer);
      reject(new ButterflyError('INTERNAL', `No process could be started: ${cause.message}`, { cause }));
    });
    child.once('message', (message) => resolve(message as SurveyAnswer));
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      reject(died(signal ?? `code ${code}`, words));
    });
    child.send(request, () => undefined);
  });
  if (answer.kind === 'surveyed') return answer.survey;
  throw new ButterflyError(isErrorCode(answer.code) ? answer.code : 'INTERNAL', answer.message);
}

/** llama.cpp says in its last lines what it did not like. */
function died(how: string, words: string): ButterflyError {
  const reason = /[^\n]*(?:GGML_ASSERT|error|what\(\))[^\n]*/u.exec(words)?.[0].trim().slice(0, 300);
  return new ButterflyError(
    'MODEL_CORRUPT',
    `llama.cpp ended (${how}) when it read the model's metadata${reason ? `: ${reason}` : ''}. Download or convert the model again.`,
  );
}
