import { deadlines, limits } from '@butterfly/common';
import { z } from 'zod';
import { honoured, withoutEffect } from '../fields/field-kinds.js';

/** Read by hand, since it may be millions of numbers. */
const input = honoured(
  z.unknown(),
  `a text or token ids, not empty; or up to ${limits.embeddingInputsMax.toLocaleString('en')} of them`,
  'required',
);

/** `/v1/embeddings` */
export const embeddingFields = {
  model: honoured(z.string(), 'the id of the model', 'the model that is served'),
  input,
  encoding_format: honoured(
    z.enum(['float', 'base64', '']),
    '`float`, `base64` (F32, little-endian)',
    '`float`',
  ),
  dimensions: honoured(
    z.int().min(1),
    'the first so many numbers, for models that were trained for it',
    'all that the model has',
  ),
  pooling: honoured(z.enum(['mean', 'cls', 'last', '']), '`mean`, `cls`, `last`', 'as the model has it'),
  normalize: honoured(z.boolean(), '`true`: vectors of length 1', '`true`'),
  truncate: honoured(z.boolean(), '`true`: a text that is too long loses its end', '`false`: it is refused'),
  timeout_ms: honoured(
    z.int().min(1).max(deadlines.requestMs),
    `1 to ${deadlines.requestMs.toLocaleString('en')}`,
    `${deadlines.requestMs.toLocaleString('en')}: an hour`,
  ),
  user: withoutEffect(z.string()),
};

/** `/rerank` and `/v1/rerank`, as Jina, Cohere, vLLM and llama-server have it. */
export const rerankFields = {
  model: embeddingFields.model,
  query: honoured(z.string().min(1), 'a text', 'required'),
  documents: honoured(
    z
      .array(z.union([z.string(), z.looseObject({ text: z.string() })]))
      .min(1)
      .max(limits.embeddingInputsMax),
    `texts, or objects with \`text\`; up to ${limits.embeddingInputsMax.toLocaleString('en')}`,
    'required',
  ),
  top_n: honoured(z.int().min(1), 'how many of the best to tell of', 'all'),
  return_documents: honoured(z.boolean(), '`true`: the texts come back with their scores', '`false`'),
  timeout_ms: embeddingFields.timeout_ms,
  user: withoutEffect(z.string()),
};
