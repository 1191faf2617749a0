import { ButterflyError, limits, uniforms } from '@butterfly/common';
import { z } from 'zod';
import { linesOf, unreadable } from '../text-lines.js';

/** The part of a body that says what is asked. */
export type LoadPrompt =
  Readonly<Record<'prompt', string>> | Readonly<Record<'messages', readonly unknown[]>>;

/** Short and common, so that most vocabularies have a token for each. */
const words = (
  'the of and to in is it you that he was for on are with as his they be at one have this from or had by hot but some ' +
  'what there we can out other were all your when up use word how said an each she which do their time if will way about ' +
  'many then them would write like so these her long make thing see him two has look more day'
).split(' ');

/** A text of so many words, which depends on its key alone and shares no beginning with that of another key. */
export function wordsOf(key: string, count: number): string {
  const uniform = uniforms(key);
  return Array.from({ length: count }, () => words[Math.floor(uniform() * words.length)]).join(' ');
}

/** What a server counted for a text of so many words. */
export interface CountedWords {
  readonly words: number;
  readonly tokens: number;
}

/** Words of a prompt of about so many tokens, by what the server counted for two others; a word is a token where that says nothing. */
export function wordsForTokens(tokens: number, few: CountedWords | null, many: CountedWords | null): number {
  const perWord = few && many ? (many.tokens - few.tokens) / (many.words - few.words) : NaN;
  if (!few || !(perWord > 0) || !Number.isFinite(perWord)) return tokens;
  // What is there without any word: a beginning of the text, and the template of a chat.
  const beside = few.tokens - perWord * few.words;
  return Math.max(1, Math.round((tokens - beside) / perWord));
}

/** A text as the route has it. */
export function promptOf(text: string, isChat: boolean): LoadPrompt {
  return isChat ? { messages: [{ role: 'user', content: text }] } : { prompt: text };
}

const textLine = z.object({ prompt: z.string().min(1) });
const chatLine = z.object({ messages: z.array(z.looseObject({ role: z.string() })).min(1) });

/** The prompt of one line of a file. @throws ButterflyError CONFIG_INVALID */
function parsePromptLine(text: string, number: number, isChat: boolean): LoadPrompt {
  const refuse = (what: string): ButterflyError =>
    new ButterflyError('CONFIG_INVALID', `Line ${number} of the --prompt-file ${what}.`);
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    throw refuse('is no JSON');
  }
  const [prompt, chat] = [textLine.safeParse(line), chatLine.safeParse(line)];
  if (isChat && chat.success) return { messages: chat.data.messages };
  if (!isChat && prompt.success) return { prompt: prompt.data.prompt };
  if (chat.success) throw refuse('has messages; add --chat');
  if (prompt.success) throw refuse('has a prompt; leave --chat out');
  throw refuse('must be {"prompt": "…"}, or with --chat {"messages": […]}');
}

/**
 * The first prompts of a file with one JSON object in each line, as many as there are requests.
 * @throws ButterflyError CONFIG_INVALID, REQUEST_TOO_LARGE
 */
export async function readPrompts(path: string, isChat: boolean, countMax: number): Promise<LoadPrompt[]> {
  const prompts: LoadPrompt[] = [];
  let characters = 0;
  try {
    for await (const [text, number] of linesOf(path)) {
      characters += text.length;
      if (characters > limits.requestBodiesBytesMax)
        throw new ButterflyError(
          'REQUEST_TOO_LARGE',
          `${path} has over ${limits.requestBodiesBytesMax} characters; shorten it.`,
        );
      prompts.push(parsePromptLine(text, number, isChat));
      if (prompts.length === countMax) break;
    }
  } catch (cause) {
    if (cause instanceof ButterflyError) throw cause;
    throw unreadable(path, cause);
  }
  if (prompts.length === 0) throw new ButterflyError('CONFIG_INVALID', `${path} has no prompts.`);
  return prompts;
}
