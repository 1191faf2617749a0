import { randomInt } from 'node:crypto';
import { ButterflyError, deadlines } from '@butterfly/common';
import type { Generation } from '@butterfly/engine';
import { IncrementalDetokenizer, type PromptMaker } from '@butterfly/text';
import { type SamplingParams, greedySampling } from '@butterfly/wire';
import { type OpenedModel, openModel, ownModel, resolveModelPath, startServing } from 'butterfly';
import { plainWishes } from '@butterfly/planning';
import { Command } from 'commander';
import { openCacheDirectory } from '../cache-directory.js';
import type { Environment } from '../environment.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import {
  awakeOption,
  cacheBytesOption,
  cacheDirectoryOption,
  cacheTypeOption,
  decimal,
  deterministicOption,
  speculationOption,
  wholeNumber,
} from '../options.js';
import { waitUntilReady } from '../progress.js';
import { openPrompts, promptOptions, type PromptFlags } from '../prompts.js';
import { stopSignal } from '../signals.js';
import { workerProgram } from '../worker-program.js';
import { printAnswer, readerGone, tell } from '../terminal.js';

interface GenerateFlags extends LogFlags, PromptFlags {
  readonly workers: number;
  readonly threads?: number;
  readonly awake: boolean;
  readonly kvCacheType: string;
  readonly speculation: 'auto' | 'off';
  readonly deterministic?: boolean;
  readonly ctx?: number;
  readonly maxTokens?: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed?: number;
  readonly chat?: boolean;
  readonly cacheDir?: string;
  readonly cacheBytes?: number;
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
    .option('--workers <n>', 'local worker processes', wholeNumber(1, 64), 1)
    .option(
      '--threads <n>',
      'threads of each worker (default: the cores, shared evenly)',
      wholeNumber(1, 512),
    )
    .addOption(awakeOption())
    .option('--ctx <tokens>', 'context (default: as trained, at most 4096)', wholeNumber(8, 1 << 20))
    .option('--max-tokens <n>', 'longest answer (default: what the context leaves)', wholeNumber(1, 1 << 20))
    .option('--temperature <t>', '0 always takes the likeliest token', decimal(0, 2), 0.8)
    .option('--top-p <p>', 'keep the likeliest tokens of this total probability', decimal(0, 1), 0.95)
    .option('--seed <n>', 'the same seed gives the same text', wholeNumber(0, 0xffff_ffff))
    .option('--chat', 'wrap the prompt in the chat template of the model')
    .addOption(cacheTypeOption())
    .addOption(speculationOption())
    .addOption(deterministicOption())
    .addOption(cacheDirectoryOption())
    .addOption(cacheBytesOption())
    .addOption(logFormatOption())
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
  for (const option of promptOptions()) command.addOption(option);
  return command;
}

async function generate(
  path: string,
  prompt: string,
  flags: GenerateFlags,
  environment: Environment,
): Promise<void> {
  const log = await openLog(environment, flags, 'generate');
  const model = await openModel(await resolveModelPath(path, environment, flags.cacheDir), {
    ggmlDirectory: environment.BUTTERFLY_GGML_DIR,
    log,
  });
  const prompts = await openPrompts(model, flags, log);
  const promptTokens = tokenizePrompt(prompts, prompt, flags.chat ?? false);
  // Before there is anything that a signal would leave behind.
  const stopping = stopSignal();
  // Its workers look again, each for itself, without a word.
  await openCacheDirectory(flags.cacheDir, environment, log);
  const serving = await startServing({
    model,
    prompts,
    http: null,
    clusterHost: '127.0.0.1',
    clusterPort: 0,
    token: undefined,
    devices: Array.from({ length: flags.workers }, () => 'cpu'),
    workerProgram,
    workersElsewhere: 0,
    othersMayJoin: false,
    threads: flags.threads,
    pin: true,
    awake: flags.awake,
    numerics: { kvCacheType: flags.kvCacheType, isDeterministic: flags.deterministic ?? false },
    wishes: { ...plainWishes, objective: 'latency', stagesMin: flags.workers },
    speculation: flags.speculation,
    // Nobody comes after the one request.
    capacity: { contextTokens: flags.ctx, parallel: 1, stateCheckpoints: 0 },
    cacheDirectory: flags.cacheDir,
    cacheBytes: flags.cacheBytes,
    logFormat: flags.logFormat,
    log,
  });
  const ending = Promise.race([stopping, readerGone(), serving.lost]);
  const answer = async (): Promise<void> => {
    if (!(await waitUntilReady(serving, ending))) return;
    const { engine } = serving.orchestrator;
    const generation = engine.submit({
      promptTokens,
      outputTokensMax: flags.maxTokens ?? Math.max(1, engine.contextTokensMax - promptTokens.length),
      logprobs: null,
      promptLogprobs: null,
      sampling: samplingOf(flags),
      stopTokens: model.vocabulary.endOfGenerationTokens,
      priority: 0,
      timeoutMs: deadlines.requestMs,
    });
    void ending.then(() => generation.cancel());
    await print(generation, model);
  };
  try {
    const error = await Promise.race([answer(), ending]);
    if (error) throw error;
  } finally {
    await serving.stop();
    model.vocabulary[Symbol.dispose]();
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

async function print(generation: Generation, { vocabulary }: OpenedModel): Promise<void> {
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
