/** Attributes of spans, and what they say. Names of OpenTelemetry's conventions where those have one. */
export const attributeMeanings = {
  'http.request.method': 'Method of the request.',
  'http.route': 'Route, as it is declared.',
  'http.response.status_code': 'Status of the response, or the one that it would have had.',
  'error.type': 'Code of the error that it ended with ([errors.md](errors.md)).',
  'gen_ai.operation.name': '`chat`, `text_completion`, `embeddings` or `rerank`.',
  'gen_ai.provider.name': 'Always `butterfly`.',
  'gen_ai.request.model': 'Model that answers.',
  'gen_ai.response.id': 'Id of the answer.',
  'gen_ai.usage.input_tokens': 'Tokens of the prompt.',
  'gen_ai.usage.output_tokens': 'Tokens of the answer.',
  'gen_ai.usage.cache_read.input_tokens': 'Of the prompt, those that were found in the cache.',
  'butterfly.request.id': 'As `x-request-id` and the log have it.',
  'butterfly.key.id': 'Id of the API key that it came with; absent without.',
  'butterfly.first_token_ms': 'From its arrival to the first token.',
  'butterfly.replays': 'How often it began again from its known tokens.',
  'butterfly.sequence': 'Which of its answers side by side, from 0.',
  'butterfly.tokens': 'Tokens that were computed in it.',
  'butterfly.steps': 'Steps that it is the sum of.',
  'butterfly.epoch': 'Number of the plan in force.',
  'butterfly.replica': 'Which pipeline, from 1.',
  'butterfly.reason': 'Why it had to recover, or lost its place.',
  'butterfly.worker.id': 'Worker that computed it; its resource has the same as `service.instance.id`.',
  'butterfly.worker.name': 'Its name.',
  'butterfly.layers': 'Layers of the stage, such as `0-9`.',
  'butterfly.compute_ms': 'Native compute, of the steps together.',
  'butterfly.host_ms': "The worker's own code around it, of the steps together.",
} as const;

export type AttributeName = keyof typeof attributeMeanings;

interface SpanMeaning {
  readonly meaning: string;
  readonly attributes: readonly AttributeName[];
}

const ofSequence = ['butterfly.sequence'] as const;
const ofSteps = [
  ...ofSequence,
  'butterfly.tokens',
  'butterfly.steps',
  'butterfly.epoch',
  'butterfly.replica',
] as const;

/** Spans of a request by their names; `request` is named by its method and route. */
export const spanMeanings = {
  request: {
    meaning: 'From its arrival until its response is out and its answer over.',
    attributes: [
      'http.request.method',
      'http.route',
      'http.response.status_code',
      'error.type',
      'gen_ai.operation.name',
      'gen_ai.provider.name',
      'gen_ai.request.model',
      'gen_ai.response.id',
      'gen_ai.usage.input_tokens',
      'gen_ai.usage.output_tokens',
      'gen_ai.usage.cache_read.input_tokens',
      'butterfly.request.id',
      'butterfly.key.id',
      'butterfly.first_token_ms',
      'butterfly.replays',
    ],
  },
  queue: { meaning: 'Waits for a place in the cache.', attributes: ofSequence },
  prefill: { meaning: 'A chunk of its prompt, as one step.', attributes: ofSteps },
  decode: { meaning: 'Tokens of its answer in a row, in one plan.', attributes: ofSteps },
  recovery: {
    meaning: 'From the end of a plan, as after the loss of a worker, until there is news again.',
    attributes: [...ofSequence, 'butterfly.reason'],
  },
  replay: { meaning: 'Known tokens, computed again.', attributes: ofSteps },
  pushed_out: {
    meaning: 'Waits while others need its place in the cache.',
    attributes: [...ofSequence, 'butterfly.reason'],
  },
  stage: {
    meaning: 'What one worker computed of the span above it.',
    attributes: [
      'butterfly.worker.id',
      'butterfly.worker.name',
      'butterfly.layers',
      'butterfly.compute_ms',
      'butterfly.host_ms',
    ],
  },
} as const satisfies Readonly<Record<string, SpanMeaning>>;

export type SpanName = keyof typeof spanMeanings;
