import { randomInt } from 'node:crypto';
import { ButterflyError, limits, systemClock } from '@butterfly/common';
import { Command, Option } from 'commander';
import { ApiClient } from '../api-client/api-client.js';
import type { Environment } from '../environment.js';
import { formatReport } from '../load-test/format-report.js';
import { LoadClient } from '../load-test/load-client.js';
import { checkSize, patternOf } from '../load-test/plan.js';
import {
  type CountedWords,
  type LoadPrompt,
  promptOf,
  readPrompts,
  wordsForTokens,
  wordsOf,
} from '../load-test/prompts.js';
import { runLoadTest } from '../load-test/run-load-test.js';
import { type LoadReport, LoadTally } from '../load-test/tally.js';
import { apiKeyOption, decimal, wholeNumber } from '../options.js';
import { print, tell } from '../terminal.js';
import { withServer } from '../with-server.js';

interface BenchFlags {
  readonly model?: string;
  readonly key?: string;
  readonly chat?: boolean;
  readonly requests: number;
  readonly concurrency: number;
  readonly rate?: number;
  readonly promptTokens: number;
  readonly promptFile?: string;
  readonly samePrompt?: boolean;
  readonly maxTokens: number;
  readonly ignoreEos: boolean;
  readonly timeout: number;
  readonly seed?: number;
  readonly json?: boolean;
}

const examples = `
Examples:
  butterfly bench http://127.0.0.1:8080
  butterfly bench http://127.0.0.1:8080 --chat --requests 200 --concurrency 16
  butterfly bench http://desk:8000 --model llama --rate 2.5 --prompt-tokens 1000 --json > load.json

The server may be any that streams OpenAI's completions, such as llama-server or vLLM. Ctrl-C prints what was measured so far.`;

export function benchCommand(environment: Environment): Command {
  const tokens = wholeNumber(1, 128 * 1024);
  return new Command('bench')
    .description('Measure a running server under load: latencies in percentiles, and tokens per second.')
    .argument('<url>', 'where the server is')
    .option('--model <id>', 'which model (default: the only one of the server)')
    .addOption(apiKeyOption())
    .option('--chat', 'ask /v1/chat/completions instead of /v1/completions')
    .option('--requests <n>', 'requests in all', wholeNumber(1, limits.loadTestRequestsMax), 32)
    .addOption(
      new Option('--concurrency <n>', 'requests at once')
        .argParser(wholeNumber(1, limits.loadTestInFlightMax))
        .default(4)
        .conflicts('rate'),
    )
    .addOption(
      new Option(
        '--rate <n>',
        'requests per second that arrive at random, whatever became of others',
      ).argParser(decimal(0.001, 10_000)),
    )
    .addOption(new Option('--prompt-tokens <n>', 'length of prompts, about').argParser(tokens).default(128))
    .addOption(
      new Option(
        '--prompt-file <file>',
        'prompts, in each line {"prompt": "…"}, with --chat {"messages": […]}; again from the first after the last',
      ).conflicts(['promptTokens', 'samePrompt']),
    )
    .option('--same-prompt', 'one prompt for all, which caches of prompts may answer for')
    .option('--max-tokens <n>', 'tokens of each answer', tokens, 128)
    .option(
      '--no-ignore-eos',
      'let answers end where the model ends them; for servers without ignore_eos, too',
    )
    .option('--timeout <seconds>', 'after which a request has failed', wholeNumber(1, 3600), 600)
    .option(
      '--seed <n>',
      'of prompts, arrivals and answers (default: another one each time)',
      wholeNumber(0, 2 ** 31 - 1),
    )
    .option('--json', 'print the figures as JSON')
    .addHelpText('after', examples)
    .action((url: string, flags: BenchFlags) => bench(url, flags, environment));
}

async function bench(url: string, flags: BenchFlags, environment: Environment): Promise<void> {
  const { requests, maxTokens, timeout, chat: isChat = false } = flags;
  checkSize(requests, maxTokens);
  const seed = flags.seed ?? randomInt(2 ** 31 - 1);
  const api = new ApiClient(url, flags.key ?? environment.BUTTERFLY_API_KEY ?? null);
  const prompts =
    flags.promptFile === undefined ? null : await readPrompts(flags.promptFile, isChat, requests);
  await withServer(url, async (_, ending) => {
    const stopping = new AbortController();
    void ending.then(() => stopping.abort());
    const { signal } = stopping;
    const timeoutMs = timeout * 1000;
    const model =
      flags.model ?? (await onlyModel(api, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])));
    const options = { client: api, model, isChat, ignoresEnd: flags.ignoreEos, timeoutMs, signal };
    const client = new LoadClient(options);
    const promptAt = prompts ? fromFile(prompts) : await madeUp(client, flags, seed);
    const tally = new LoadTally();
    await runLoadTest({
      requests,
      pattern: patternOf(seed, requests, flags.rate ?? null, flags.concurrency),
      send: async (index, startMs) =>
        tally.add(await client.send({ prompt: promptAt(index), maxTokens, seed }, startMs)),
      signal,
    });
    show(tally.report(requests), { url, model, seed }, flags.json ?? false);
  });
}

/** @throws ButterflyError CONFIG_INVALID where one must be named, and as `ApiClient.models` */
async function onlyModel(api: ApiClient, signal: AbortSignal): Promise<string> {
  const [model, ...others] = await api.models(signal);
  if (model !== undefined && others.length === 0) return model;
  const known = model === undefined ? 'The server names no model' : 'The server has several models';
  throw new ButterflyError('CONFIG_INVALID', `${known}; say which one with --model.`);
}

function fromFile(prompts: readonly LoadPrompt[]): (index: number) => LoadPrompt {
  return (index) => prompts[index % prompts.length] ?? { prompt: '' };
}

/** Prompts of about as many tokens as are asked for, by what the server counts for two short ones. */
async function madeUp(
  client: LoadClient,
  { promptTokens, samePrompt = false, chat: isChat = false }: BenchFlags,
  seed: number,
): Promise<(index: number) => LoadPrompt> {
  const count = async (words: number): Promise<CountedWords | null> => {
    const prompt = promptOf(wordsOf(`count ${seed} ${words}`, words), isChat);
    const { usage } = await client.send({ prompt, maxTokens: 1, seed }, systemClock.nowMs());
    return usage ? { words, tokens: usage.inputTokens } : null;
  };
  const words = wordsForTokens(promptTokens, await count(8), await count(72));
  return (index) => promptOf(wordsOf(`prompt ${seed} ${samePrompt ? 0 : index}`, words), isChat);
}

/** @throws ButterflyError CANCELLED for a test that was stopped, REQUEST_INVALID for one without any answer */
function show(report: LoadReport, about: Readonly<Record<string, unknown>>, asJson: boolean): void {
  const { planned, sent, answered, failed } = report.requests;
  if (asJson) print(`${JSON.stringify({ ...about, ...report }, null, 2)}\n`);
  else {
    print(formatReport(report));
    tell(`[--seed ${String(about.seed)} sends the same again]\n`);
  }
  if (answered + failed < planned)
    throw new ButterflyError(
      'CANCELLED',
      `It was stopped with ${answered + failed} of ${planned} requests done, ${sent} sent.`,
    );
  if (answered === 0)
    throw new ButterflyError(
      'REQUEST_INVALID',
      `None of ${planned} requests was answered; see the errors by code.`,
    );
}
