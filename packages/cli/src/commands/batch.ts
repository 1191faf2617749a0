import { ButterflyError, systemClock } from '@butterfly/common';
import { ownModel } from 'butterfly/command';
import { SingleBar, Presets } from 'cli-progress';
import { Command } from 'commander';
import { ApiClient } from '../api-client/api-client.js';
import { batchRequests, checkBatch, finishedIds, openLines } from '../batch/batch-files.js';
import { runBatch, type BatchOutcome } from '../batch/batch-run.js';
import type { Environment } from '../environment.js';
import { addLocalOptions, type LocalFlags } from '../local-serving.js';
import { apiKeyOption, wholeNumber } from '../options.js';
import { print, tell } from '../terminal.js';
import { withServer } from '../with-server.js';

interface BatchFlags extends LocalFlags {
  readonly url?: string;
  readonly key?: string;
  readonly output?: string;
  readonly parallel: number;
}

const examples = `
Examples:
  butterfly batch requests.jsonl model.gguf
  butterfly batch requests.jsonl --url http://127.0.0.1:8080 --output answers.jsonl

Each line of the file is {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {…}}, as OpenAI's
batches have it. Answers are added to the output as they come; a batch that was interrupted goes on where it was.`;

export function batchCommand(environment: Environment): Command {
  const command = new Command('batch')
    .description('Answer a file of requests at full throughput.')
    .argument('<file>', 'requests, one JSON object in each line')
    .argument('[model]', 'GGUF file (default: the small one that ships with Butterfly)')
    .option('--url <url>', 'ask a running server instead of starting one')
    .addOption(apiKeyOption())
    .option('--output <file>', 'where answers go (default: FILE.answers.jsonl)')
    .option('--parallel <n>', 'requests at once', wholeNumber(1, 256), 16)
    .addHelpText('after', examples)
    .action((file: string, model: string | undefined, flags: BatchFlags) =>
      batch(file, model, flags, environment),
    );
  return addLocalOptions(command);
}

async function batch(
  file: string,
  model: string | undefined,
  flags: BatchFlags,
  environment: Environment,
): Promise<void> {
  if (model !== undefined && flags.url !== undefined)
    throw new ButterflyError('CONFIG_INVALID', 'Name a model or the --url of a server, not both.');
  const stem = file.replace(/\.jsonl$/, '');
  const output = flags.output ?? `${stem}.answers.jsonl`;
  const total = await checkBatch(file);
  const finished = await finishedIds(output);
  const { parallel } = flags;
  const source = flags.url ?? { model: model ?? ownModel, flags, environment, command: 'batch', parallel };
  await withServer(source, async (url, ending) => {
    const stopping = new AbortController();
    void ending.then(() => stopping.abort());
    const client = new ApiClient(url, flags.key ?? environment.BUTTERFLY_API_KEY ?? null);
    const results = await openLines(output, 'append');
    const failures = await openLines(`${stem}.errors.jsonl`, 'anew');
    const progress = batchProgress(total);
    try {
      await runBatch({
        requests: batchRequests(file),
        finished,
        concurrency: parallel,
        ask: (request, signal) => client.post(request.url, request.body, signal),
        writeResult: (line) => results.appendFile(line),
        writeFailure: (line) => failures.appendFile(line),
        onDone: (outcome) => progress.done(outcome),
        clock: systemClock,
        signal: stopping.signal,
      });
    } finally {
      progress.stop();
      await results.close();
      await failures.close();
    }
    progress.summary(output);
  });
}

/** Counts what is done, with a bar on a terminal. */
function batchProgress(total: number) {
  const counts = { answered: 0, refused: 0, failed: 0, skipped: 0 };
  const startMs = systemClock.nowMs();
  let outputTokens = 0;
  const perSecond = (): string =>
    ((outputTokens * 1000) / Math.max(1, systemClock.nowMs() - startMs)).toFixed(1);
  const bar = process.stderr.isTTY
    ? new SingleBar(
        {
          format: '[{bar}] {value}/{total}, {speed} tokens per second, {eta_formatted} left',
          hideCursor: true,
          stream: process.stderr,
        },
        Presets.shades_classic,
      )
    : null;
  bar?.start(total, 0, { speed: '0' });
  return {
    done({ kind, outputTokens: more }: BatchOutcome): void {
      counts[kind] += 1;
      outputTokens += more;
      bar?.increment(1, { speed: perSecond() });
    },
    stop: () => bar?.stop(),
    /** @throws ButterflyError CANCELLED where some are left */
    summary(output: string): void {
      const { answered, refused, failed, skipped } = counts;
      const done = answered + refused + skipped;
      print(
        `${done} of ${total} answered, to ${output} (${refused} refused, ${skipped} were there already).\n`,
      );
      tell(`[${outputTokens} tokens, ${perSecond()} per second]\n`);
      const left = total - done;
      if (left > 0)
        throw new ButterflyError(
          failed > 0 ? 'CLUSTER_NOT_READY' : 'CANCELLED',
          `${left} requests have no answer; run the same command again to go on.`,
        );
    },
  };
}
