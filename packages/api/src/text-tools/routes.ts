import { ButterflyError, limits } from '@butterfly/common';
import { type ChatInput, noTools, promptText, promptTokens } from '@butterfly/generation';
import { z } from 'zod';
import { useModel } from '../answers/models.js';
import type { ApiContext, ServedModel } from '../context.js';
import type { AddRoute } from '../http/add-route.js';
import { invalid, parseBody } from '../fields/parse-body.js';
import { boundedList } from '../fields/values.js';

const message = z.looseObject({ role: z.string(), content: z.string() });
const messages = boundedList(message, limits.messagePartsMax);

/** llama-server calls the text `content`, vLLM `prompt`, with chats beside it. */
const tokenizeSchema = z.strictObject({
  model: z.string().nullish(),
  content: z.string().nullish(),
  prompt: z.string().nullish(),
  messages: messages.nullish(),
  /** BOS: by default not for llama-server's `content`, and for vLLM's `prompt`. */
  add_special: z.boolean().nullish(),
  add_special_tokens: z.boolean().nullish(),
  parse_special: z.boolean().nullish(),
  with_pieces: z.boolean().nullish(),
  return_token_strs: z.boolean().nullish(),
});

const detokenizeSchema = z.strictObject({ model: z.string().nullish(), tokens: z.array(z.int().min(0)) });
const templateSchema = z.strictObject({ model: z.string().nullish(), messages });

/** What stands between words and tokens, for those who count or look: `/tokenize`, `/detokenize`, `/apply-template`, `/props`. */
export function addTextRoutes(add: AddRoute, context: ApiContext): void {
  add('POST', '/tokenize', async (request) => {
    const asked = parseBody(tokenizeSchema, request.body);
    using use = await useModel(context, request, asked.model ?? null);
    const { model } = use;
    const tokens = await tokensOf(model, asked);
    const pieces = [...tokens].map((token) => ({ id: token, piece: pieceOf(model, token) }));
    return {
      tokens: asked.with_pieces === true ? pieces : [...tokens],
      count: tokens.length,
      max_model_len: model.engine.contextTokensMax,
      ...(asked.return_token_strs === true
        ? { token_strs: [...tokens].map((token) => model.vocabulary.tokenText(token)) }
        : {}),
    };
  });
  add('POST', '/detokenize', async (request) => {
    const asked = parseBody(detokenizeSchema, request.body);
    using use = await useModel(context, request, asked.model ?? null);
    const text = textOf(use.model, asked.tokens);
    return { content: text, prompt: text };
  });
  add('POST', '/apply-template', async (request) => {
    const asked = parseBody(templateSchema, request.body);
    using use = await useModel(context, request, asked.model ?? null);
    return { prompt: await promptText(use.model, chatOf(asked.messages)) };
  });
  add('GET', '/props', async (request) => {
    using use = await useModel(context, request, null);
    return propsOf(use.model);
  });
}

const chatOf = (said: z.output<typeof messages>): ChatInput => ({
  kind: 'chat',
  messages: said.map(({ role, content }) => ({ role, content })),
  toolUse: noTools,
  templateValues: {},
  continuesLast: false,
});

function tokensOf(
  model: ServedModel,
  asked: z.output<typeof tokenizeSchema>,
): Promise<Int32Array> | Int32Array {
  const { content, prompt, messages: said } = asked;
  if ([content, prompt, said].filter((each) => each != null).length !== 1)
    throw invalid('content', 'send one of content, prompt and messages');
  if (said != null) return promptTokens(model, chatOf(said), 'messages');
  const text = content ?? prompt ?? '';
  if (text.length > limits.tokenizedCharactersMax)
    throw new ButterflyError(
      'REQUEST_TOO_LARGE',
      `The text has over ${limits.tokenizedCharactersMax} characters; send it in pieces.`,
      { param: content == null ? 'prompt' : 'content' },
    );
  const addSpecial = asked.add_special ?? asked.add_special_tokens ?? content == null;
  return model.vocabulary.tokenize(text, { addSpecial, parseSpecial: asked.parse_special ?? true });
}

function textOf({ vocabulary }: ServedModel, tokens: readonly number[]): string {
  const unknown = tokens.find((token) => token >= vocabulary.size);
  if (unknown !== undefined)
    throw invalid('tokens', `there is no token ${unknown}; the vocabulary ends at ${vocabulary.size - 1}`);
  return Buffer.concat(tokens.map((token) => vocabulary.tokenToBytes(token, { special: true }))).toString();
}

/** Text where the bytes of a token are whole characters, else the bytes, as llama-server has it. */
function pieceOf({ vocabulary }: ServedModel, token: number): string | number[] {
  const bytes = vocabulary.tokenToBytes(token, { special: true });
  const text = Buffer.from(bytes).toString();
  return Buffer.from(text).equals(bytes) ? text : [...bytes];
}

function propsOf({ id, engine, vocabulary, facts }: ServedModel): object {
  const textOfToken = (token: number | null): string => (token === null ? '' : vocabulary.tokenText(token));
  return {
    model_alias: id,
    default_generation_settings: { n_ctx: engine.contextTokensMax },
    chat_template: facts.chatTemplate ?? '',
    bos_token: textOfToken(vocabulary.bos),
    eos_token: textOfToken(vocabulary.eos),
    modalities: { vision: false, audio: false },
  };
}
