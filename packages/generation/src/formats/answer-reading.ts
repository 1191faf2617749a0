import type { Vocabulary } from '@butterfly/ggml';
import type { PromptMaker } from '@butterfly/text';
import type { ChatInput } from '../spec.js';
import { usableTools } from '../spec.js';
import type { AnswerOutput } from './answer-output.js';
import { AnswerParser } from './answer-parser.js';
import type { CallableTools, Parser } from './parser.js';
import { ChannelParser, channelMarkers } from './channel-parser.js';
import { syntaxOf } from './families.js';
import { Markers } from './markers.js';
import { type AnswerSyntax, markersOf } from './syntax.js';

/** How the answers to one conversation are read. */
export interface AnswerReading {
  /** The tokens that count as markers, with their texts. */
  readonly markerTokens: ReadonlyMap<number, string>;
  /** Tokens that end an answer beside those of the vocabulary. */
  readonly endTokens: readonly number[];
  /** Whether it begins where the model thinks. */
  readonly isThinking: boolean;
  /** Whether an answer ends with its first call. */
  readonly hasOneCall: boolean;
  newParser(output: AnswerOutput): Parser;
}

interface Model {
  readonly prompts: PromptMaker;
  readonly vocabulary: Vocabulary;
}

interface ModelSyntax {
  readonly syntax: AnswerSyntax;
  readonly tokens: ReadonlyMap<string, number>;
  /** Those of them that have no text in answers. */
  readonly textlessTokens: ReadonlyMap<string, number>;
}

const known = new WeakMap<PromptMaker, ModelSyntax>();

/** How a model writes its answers, found once for each. */
export function modelSyntax({ prompts, vocabulary }: Model): ModelSyntax {
  const found = known.get(prompts);
  if (found !== undefined) return found;
  const tokens = new Map(vocabulary.specialTokens.map(({ text, token }) => [text, token]));
  const { chatTemplate, describesTools } = prompts;
  const syntax = syntaxOf({ chatTemplate, describesTools, specialTexts: new Set(tokens.keys()) });
  const textless = vocabulary.specialTokens.filter(({ isAlwaysRead }) => !isAlwaysRead);
  const textlessTokens = new Map(textless.map(({ text, token }) => [text, token]));
  const made = { syntax, tokens, textlessTokens };
  known.set(prompts, made);
  return made;
}

/** What chats with a model can do, in Ollama's words. */
export function modelCapabilities(model: Model): readonly string[] {
  const { syntax } = modelSyntax(model);
  const canCall = syntax.calls !== null || syntax.hasChannels;
  const canThink = syntax.reasoning !== null || syntax.hasChannels;
  const canFill = model.vocabulary.infill !== null;
  return [
    'completion',
    ...(canFill ? ['insert'] : []),
    ...(canCall ? ['tools'] : []),
    ...(canThink ? ['thinking'] : []),
  ];
}

/**
 * @param prompt what the model continues, whose end tells whether it is thinking already
 * @returns null where an answer is text and nothing else
 */
export function answerReading(model: Model, input: ChatInput, prompt: string): AnswerReading | null {
  const { syntax, tokens } = modelSyntax(model);
  const tools: CallableTools = new Map(
    usableTools(input.toolUse).map(({ name, parameters }) => [name, parameters]),
  );
  const active = tools.size > 0 ? syntax : { ...syntax, calls: null };
  if (active.reasoning === null && active.calls === null && !active.hasChannels) return null;
  const texts = [...markersOf(active), ...(syntax.hasChannels ? channelMarkers : [])];
  const markers = new Markers(new Set(texts.filter((text) => tokens.has(text))));
  const tokensOf = (given: readonly string[]) =>
    given.flatMap((text) => {
      const token = tokens.get(text);
      return token === undefined ? [] : [[token, text] as const];
    });
  const thinks = isThinking(active, input, prompt);
  return {
    isThinking: thinks,
    markerTokens: new Map(tokensOf(texts)),
    endTokens: tokensOf(syntax.ends).map(([token]) => token),
    hasOneCall: !input.toolUse.isParallel,
    newParser: (output) =>
      syntax.hasChannels
        ? new ChannelParser(markers, tools, output, input.continuesLast)
        : new AnswerParser(active, markers, tools, output, thinks),
  };
}

/** Whether a prompt ends where the model thinks: its template wrote the beginning, or what is continued did. */
function isThinking(
  { reasoning }: AnswerSyntax,
  { continuesLast, messages }: ChatInput,
  prompt: string,
): boolean {
  if (reasoning === null) return false;
  const { begin, end } = reasoning;
  if (prompt.trimEnd().endsWith(begin)) return true;
  const said = messages.at(-1)?.content;
  if (!continuesLast || typeof said !== 'string') return false;
  return said.lastIndexOf(begin) > said.lastIndexOf(end);
}
