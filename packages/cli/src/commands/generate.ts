import { randomInt } from 'node:crypto';
import { ButterflyError, deadlines } from '@butterfly/common';
import type { Generation } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import { IncrementalDetokenizer, type PromptMaker } from '@butterfly/text';
import { type SamplingParams, greedySampling } from '@butterfly/wire';
import { ownModel } from 'butterfly/command';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { addLocalOptions, startLocal, type LocalFlags } from '../local-serving.js';
import { decimal, wholeNumber } from '../options.js';
import { waitUntilReady } from '../progress.js';
import { stopSignal } from '../signals.js';
import { printAnswer, readerGone, tell } from '../terminal.js';

interface GenerateFlags extends LocalFlags {
  readonly maxTokens?: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed?: number;
  readonly chat?: boolean;
}

const examples = `
Examples:
  butterfly generate "Once upon a time"
  butterfly generate model.gguf "What is a butterfly?" --chat --temperature 0 --workers 2`;

export function generateCommand(environment: Environment): Command {
  const command = new Command('generate')
    .description('Continue one prompt, streaming to the terminal.')
    .usage('[options] [model] <prompt>')
    .argument(
      '<words...>',
      'GGUF file (default: the small one that ships with Butterfly), then the text to continue',
    )
    .option('--max-tokens <n>', 'longest answer (default: what the context leaves)', wholeNumber(1, 1 << 20))
    .option('--temperature <t>', '0 always takes the likeliest token', decimal(0, 2), 0.8)
    .option('--top-p <p>', 'keep the likeliest tokens of this total probability', decimal(0, 1), 0.95)
    .option('--seed <n>', 'the same seed gives the same text', wholeNumber(0, 0xffff_ffff))
    .option('--chat', 'wrap the prompt in the chat template of the model')
    .addHelpText('after', examples)
    .action((words: readonly string[], flags: GenerateFlags) => {
      const [model, prompt] = words.length === 1 ? [ownModel, words[0]] : words;
      if (words.length > 2 || !model.trim() || prompt === undefined)
        throw new ButterflyError(
          'CONFIG_INVALID',
          'Put the prompt in quotes: butterfly generate [model] "prompt".',
        );
      return generate(model, prompt, flags, environment);
    });
  return addLocalOptions(command);
}

async function generate(
  path: string,
  prompt: string,
  flags: GenerateFlags,
  environment: Environment,
): Promise<void> {
  // Before there is anything that a signal would leave behind.
  const stopping = stopSignal();
  const serving = await startLocal(path, flags, environment, {
    command: 'generate',
    hasApi: false,
    parallel: 1,
    objective: 'latency',
    // Nobody comes after the one request.
    stateCheckpoints: 0,
  });
  const ending = Promise.race([stopping, readerGone(), serving.lost]);
  const answer = async (): Promise<void> => {
    using use = await serving.models.use(serving.first.id);
    const { engine, vocabulary, prompts } = use.model;
    const promptTokens = tokenizePrompt(prompts, prompt, flags.chat ?? false);
    if (!(await waitUntilReady(serving, ending))) return;
    const generation = engine.submit({
      promptTokens,
      outputTokensMax: flags.maxTokens ?? Math.max(1, engine.contextTokensMax - promptTokens.length),
      logprobs: null,
      promptLogprobs: null,
      sampling: samplingOf(flags),
      stopTokens: vocabulary.endOfGenerationTokens,
      priority: 0,
      timeoutMs: deadlines.requestMs,
    });
    void ending.then(() => generation.cancel());
    await print(generation, vocabulary);
  };
  try {
    const error = await Promise.race([answer(), ending]);
    if (error) throw error;
  } finally {
    await serving.stop();
  }
}

function tokenizePrompt(prompts: PromptMaker, prompt: string, chat: boolean): Int32Array {
  return prompts.tokens(
    chat ? prompts.chatText([{ role: 'user', content: prompt }]) : prompts.plainText(prompt),
  );
}

function samplingOf({ temperature, topP, seed }: GenerateFlags): SamplingParams {
  return { ...greedySampling, temperature, topP, seed: seed ?? randomInt(0x1_0000_0000) };
}

async function print(generation: Generation, vocabulary: Vocabulary): Promise<void> {
  const detokenizer = new IncrementalDetokenizer(vocabulary);
  let tokens = 0;
  for await (const event of generation) {
    switch (event.kind) {
      case 'token':
        tokens++;
        printAnswer(detokenizer.push(event.token));
        break;
      case 'promptToken':
        break;
      case 'end': {
        const { firstTokenMs, totalMs } = event.timing;
        const perSecond = tokens > 1 ? ((tokens - 1) * 1000) / (totalMs - firstTokenMs) : 0;
        printAnswer(`${detokenizer.flush()}\n`);
        tell(
          `[${tokens} tokens, first after ${firstTokenMs.toFixed(0)} ms, then ${perSecond.toFixed(1)} per second]\n`,
        );
        break;
      }
      case 'error':
        throw event.error;
      default:
        event satisfies never;
    }
  }
}
