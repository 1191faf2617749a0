import { deadlines } from '@butterfly/common';
import type { GenerationSpec } from '@butterfly/generation';
import { z } from 'zod';
import type { ParsedRequest } from '../answers/dialect.js';
import { namesWithoutEffect, shapeOf } from '../fields/field-kinds.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { isBlank } from '../fields/values.js';
import { dryOf, samplingOf } from '../openai/sampling.js';
import { infillEncoding } from './encoding.js';
import { infillFields } from './fields.js';

const infillSchema = z.strictObject(shapeOf(infillFields));

/** What a file is called that has no name, as in llama-server. */
const fileNameUsual = 'tmp';

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseInfillRequest(body: unknown): ParsedRequest {
  const fields = parseBody(infillSchema, body);
  const { input_prefix: prefix, input_suffix: suffix, input_extra: extra, n_predict: outputTokens } = fields;
  if (prefix == null) throw invalid('input_prefix', 'expected a text');
  if (suffix == null) throw invalid('input_suffix', 'expected a text');
  const { temperature, top_k: topK, top_p: topP, min_p: minP } = fields;
  const spec: GenerationSpec = {
    input: {
      kind: 'infill',
      prefix,
      suffix,
      suffixField: 'input_suffix',
      begun: fields.prompt ?? '',
      files: (extra ?? []).map(({ filename, text }) => ({ name: filename ?? fileNameUsual, text })),
    },
    inputField: 'input_prefix',
    choices: 1,
    candidates: 1,
    sampling: samplingOf({
      ...fields,
      temperature: temperature ?? 0.8,
      top_k: topK ?? 40,
      top_p: topP ?? 0.95,
      min_p: minP ?? 0.05,
    }),
    dry: dryOf(fields),
    format: { kind: 'text' },
    logprobs: null,
    promptLogprobs: null,
    stops: [fields.stop ?? []].flat().filter((stop) => stop !== ''),
    outputTokensMax: outputTokens == null || outputTokens === -1 ? null : outputTokens,
    ignoreEos: fields.ignore_eos ?? false,
    priority: fields.priority ?? 0,
    timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
  };
  return {
    model: isBlank(fields.model) ? null : fields.model,
    spec,
    stream: fields.stream ?? false,
    withoutEffect: namesWithoutEffect(infillFields, fields),
    encoding: infillEncoding,
  };
}
