import { ButterflyError, deadlines, limits } from '@butterfly/common';
import type {
  AnswerFormat,
  ChatInput,
  GenerationInput,
  InfillInput,
  PlainInput,
} from '@butterfly/generation';
import { z } from 'zod';
import type { AnswerEncoding, ParsedRequest } from '../answers/dialect.js';
import { namesWithoutEffect, shapeOf } from '../fields/field-kinds.js';
import type { ShapeOf } from '../fields/field-kinds.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { plainInputs } from '../fields/plain-inputs.js';
import { isBlank } from '../fields/values.js';
import { chatEncoding } from './chat-encoding.js';
import { messageNamesWithoutEffect, templateMessage } from './chat-messages.js';
import { toolUseOf } from './chat-tools.js';
import { chatFields, textFields } from './fields.js';
import type { sharedFields } from './fields.js';
import { dryOf, samplingOf } from './sampling.js';
import { answerFormat } from './response-format.js';
import { textEncoding } from './text-encoding.js';

/** What OpenAI's `/v1/completions` generates unless told otherwise. */
const textOutputTokensDefault = 16;

const chatSchema = z.strictObject(shapeOf(chatFields));
const textSchema = z.strictObject(shapeOf(textFields));

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseChatRequest(body: unknown): ParsedRequest {
  const fields = parseBody(chatSchema, body);
  const { messages, max_tokens: older, max_completion_tokens: newer } = fields;
  if (messages == null) throw invalid('messages', 'expected an array of messages');
  if (older != null && newer != null && older !== newer)
    throw invalid('max_tokens', 'contradicts max_completion_tokens; send only the latter');
  const names = [...namesWithoutEffect(chatFields, fields), ...messageNamesWithoutEffect(messages)];
  if (fields.top_logprobs != null && fields.logprobs !== true)
    throw invalid('top_logprobs', 'needs logprobs: true');
  const logprobs = fields.logprobs === true ? (fields.top_logprobs ?? 0) : null;
  const input: ChatInput = {
    kind: 'chat',
    messages: messages.map(templateMessage),
    toolUse: toolUseOf(fields),
    templateValues: templateValuesOf(fields),
    continuesLast: continuesLast(fields),
  };
  return parsedRequest(fields, {
    input,
    inputField: 'messages',
    outputTokens: newer ?? older ?? -1,
    candidates: fields.n ?? 1,
    names,
    logprobs,
    promptLogprobs: null,
    encode: chatEncoding,
    format: answerFormat(fields.response_format === '' ? null : fields.response_format),
  });
}

type ChatFields = z.output<typeof chatSchema>;

function templateValuesOf({ chat_template_kwargs: more, reasoning_effort: effort }: ChatFields) {
  return { ...more, ...(isBlank(effort) ? {} : { reasoning_effort: effort }) };
}

/** As vLLM has it: an answer is begun, or the last one continued. */
function continuesLast({
  continue_final_message: continues,
  add_generation_prompt: begins,
}: ChatFields): boolean {
  if (continues === true && begins === true)
    throw invalid('add_generation_prompt', 'contradicts continue_final_message; send only the latter');
  if (continues !== true && begins === false)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'add_generation_prompt: false is supported with continue_final_message alone; leave it out.',
      { param: 'add_generation_prompt' },
    );
  return continues ?? false;
}

/** @throws ButterflyError REQUEST_INVALID or REQUEST_UNSUPPORTED, naming the field. */
export function parseTextRequest(body: unknown): ParsedRequest {
  const fields = parseBody(textSchema, body);
  const outputTokens = fields.max_tokens ?? textOutputTokensDefault;
  const prompts = plainInputs(fields.prompt, 'prompt', limits.promptsMax);
  const isEchoed = fields.echo === true;
  const suffix = fields.suffix ?? '';
  if (outputTokens === 0 && !isEchoed)
    throw invalid('max_tokens', 'expected at least 1, or with echo 0, which scores the prompt');
  const echo = isEchoed ? prompts.map(echoOf) : null;
  const inputs = suffix === '' ? prompts : withGaps(prompts, suffix, isEchoed);
  const [first] = inputs;
  const input: GenerationInput = inputs.length === 1 && first ? first : { kind: 'several', inputs };
  const choicesEach = fields.n ?? 1;
  const logprobs = fields.logprobs ?? null;
  return parsedRequest(fields, {
    input,
    inputField: 'prompt',
    outputTokens,
    candidates: candidatesOf(fields),
    names: namesWithoutEffect(textFields, fields),
    logprobs,
    promptLogprobs: isEchoed ? logprobs : null,
    format: { kind: 'text' },
    encode: (includeUsage) =>
      textEncoding({ includeUsage, hasLogprobs: logprobs !== null, echo, choicesEach }),
  });
}

/** Nothing can be told of candidates before it is known which are the best. */
function candidatesOf({ best_of: bestOf, n, stream }: z.output<typeof textSchema>): number {
  const choices = n ?? 1;
  if (bestOf == null) return choices;
  if (bestOf < choices) throw invalid('best_of', `expected at least n, which is ${choices}`);
  if (bestOf > choices && stream === true)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      'best_of: not supported with stream, since the best is known at the end; leave one out.',
      { param: 'best_of' },
    );
  return bestOf;
}

/** What an endpoint has of its own. */
interface Own {
  readonly input: GenerationInput;
  readonly inputField: 'messages' | 'prompt';
  /** -1 for as many as there is room for. */
  readonly outputTokens: number;
  /** Answers to each input, of which the likeliest are told of. */
  readonly candidates: number;
  /** Of fields that change nothing. */
  readonly names: readonly string[];
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  readonly format: AnswerFormat;
  readonly encode: (includeUsage: boolean) => AnswerEncoding;
}

function parsedRequest(
  fields: z.output<z.ZodObject<ShapeOf<typeof sharedFields>>>,
  { input, inputField, outputTokens, candidates, names, logprobs, promptLogprobs, format, encode }: Own,
): ParsedRequest {
  const stream = fields.stream ?? false;
  const { include_usage: includeUsage, include_obfuscation: obfuscates } = fields.stream_options ?? {};
  const idleStreamOptions = [
    ...(!stream && fields.stream_options != null ? ['stream_options'] : []),
    ...(stream && obfuscates === true ? ['stream_options.include_obfuscation'] : []),
  ];
  return {
    model: isBlank(fields.model) ? null : fields.model,
    spec: {
      input,
      inputField,
      choices: fields.n ?? 1,
      candidates,
      sampling: samplingOf(fields),
      dry: dryOf(fields),
      logprobs,
      promptLogprobs,
      format,
      stops: [fields.stop ?? []].flat().filter((stop) => stop !== ''),
      outputTokensMax: outputTokens === -1 ? null : outputTokens,
      priority: fields.priority ?? 0,
      timeoutMs: fields.timeout_ms ?? deadlines.requestMs,
      ignoreEos: fields.ignore_eos ?? false,
    },
    stream,
    withoutEffect: [...names, ...idleStreamOptions],
    encoding: encode(includeUsage ?? false),
  };
}

/** Each prompt with a gap behind it, and the suffix behind that. */
function withGaps(prompts: readonly PlainInput[], suffix: string, isEchoed: boolean): readonly InfillInput[] {
  if (isEchoed)
    throw new ButterflyError('REQUEST_UNSUPPORTED', 'echo: not supported with suffix; leave one out.', {
      param: 'echo',
    });
  return prompts.map((prompt): InfillInput => {
    if (prompt.kind === 'tokens')
      throw new ButterflyError(
        'REQUEST_UNSUPPORTED',
        'suffix: only prompts of text can have one; send the prompt as text.',
        { param: 'suffix' },
      );
    return { kind: 'infill', prefix: prompt.text, suffix, suffixField: 'suffix', begun: '', files: null };
  });
}

function echoOf(input: PlainInput): string {
  if (input.kind === 'text') return input.text;
  throw new ButterflyError(
    'REQUEST_UNSUPPORTED',
    'echo: only prompts of text can be repeated; send the prompt as text.',
    { param: 'echo' },
  );
}
