import { limits } from '@butterfly/common';
import { z } from 'zod';
import { honoured, pickFields, withoutEffect } from '../fields/field-kinds.js';
import { boundedList, wholeNumber } from '../fields/values.js';
import { sharedFields } from '../openai/fields.js';

const file = z.looseObject({
  text: z.string().max(limits.infillFileCharactersMax),
  filename: z.string().nullish(),
});

const { temperature, top_k, top_p, min_p } = sharedFields;

/** `/infill`, with the names and defaults of llama-server. */
export const infillFields = {
  input_prefix: honoured(z.string(), 'what comes before the gap', 'required'),
  input_suffix: honoured(z.string(), 'what comes behind it', 'required'),
  input_extra: honoured(
    boundedList(file, limits.infillFilesMax),
    `up to ${limits.infillFilesMax} of \`{"filename": …, "text": …}\`, each of at most ${limits.infillFileCharactersMax} characters`,
    'none',
  ),
  prompt: honoured(z.string(), 'what stands in the gap already', 'none'),
  model: sharedFields.model,
  n_predict: honoured(
    wholeNumber((value) => value >= -1, 'expected at least 0, or -1 for what there is room for'),
    'at least 0, where 0 only computes the prompt; -1: as much as there is room for',
    '-1',
  ),
  temperature: { ...temperature, fallback: '0.8' },
  top_k: { ...top_k, fallback: '40' },
  top_p: { ...top_p, fallback: '0.95' },
  min_p: { ...min_p, fallback: '0.05' },
  ...pickFields(sharedFields, [
    'typical_p',
    'xtc_probability',
    'xtc_threshold',
    'repeat_penalty',
    'repeat_last_n',
    'presence_penalty',
    'frequency_penalty',
    'dry_multiplier',
    'dry_base',
    'dry_allowed_length',
    'dry_penalty_last_n',
    'dry_sequence_breakers',
    'logit_bias',
    'seed',
    'stop',
    'ignore_eos',
    'stream',
    'timeout_ms',
    'priority',
  ]),

  cache_prompt: withoutEffect(),
  id_slot: withoutEffect(),
  n_cache_reuse: withoutEffect(),
  response_fields: withoutEffect(),
  t_max_prompt_ms: withoutEffect(),
  t_max_predict_ms: withoutEffect(),
  n_indent: withoutEffect(),
  samplers: withoutEffect(),
};
