import { networkInterfaces } from 'node:os';
import { ButterflyError, formatAddress, formatBytes, addressForOthers } from '@butterfly/common';
import type { Serving } from 'butterfly/command';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { ask, confirmDownload, isAnswered } from '../fetching/confirm.js';
import { directoryOf, hubUrlOf, pullModel, type PullFlags } from '../fetching/pull-model.js';
import { type Choice, choiceOf, serveArguments, type ServerWishes } from '../first-run/choice.js';
import { lookAround, type Surroundings } from '../first-run/look-around.js';
import { formatOffers } from '../first-run/offers-table.js';
import { logFormatOption, openLog } from '../log.js';
import { cacheDirectoryOption, dataDirectoryOption, hubUrlOption, port } from '../options.js';
import { errorLine, print, reportUsageErrors, tell } from '../terminal.js';
import { serveCommand } from './serve.js';

interface UpFlags extends ServerWishes, Omit<PullFlags, 'directory'> {
  readonly list?: boolean;
  readonly yes?: boolean;
}

/** How often a person may mistype before they are left alone. */
const questionsMax = 3;

const examples = `
Examples:
  butterfly up                         shows what this machine can run, asks, fetches, serves
  butterfly up --list                  shows it, and no more
  butterfly up stories                 the model that came with Butterfly, without a network
  butterfly up qwen3-4b --yes          without a question, for scripts

"butterfly serve" has all options of a server.`;

export function upCommand(environment: Environment): Command {
  return new Command('up')
    .description('Start here: choose a model that this machine can hold, fetch it and serve it.')
    .argument('[model]', 'name of the list, GGUF file, or hf:ORG/REPO:FILE (default: asks)')
    .option('--list', 'show what this machine can run, and no more')
    .option('--yes', 'fetch without a question what is not here yet')
    .option('--alone', 'let no other machine join')
    .option('--port <n>', 'port of the HTTP API; 0 chooses a free one', port, 8080)
    .option('--cluster-port <n>', 'port where other machines join; 0 chooses a free one', port, 7600)
    .addOption(hubUrlOption())
    .addOption(cacheDirectoryOption())
    .addOption(dataDirectoryOption())
    .addOption(logFormatOption())
    .addHelpText('after', examples)
    .action((named: string | undefined, flags: UpFlags) => up(named, flags, environment));
}

async function up(named: string | undefined, flags: UpFlags, environment: Environment): Promise<void> {
  if (named === undefined && !flags.list && !isAnswered())
    throw new ButterflyError(
      'CONFIG_INVALID',
      'Nobody is there to choose a model; name one that is here, such as "butterfly up stories", or one to fetch with --yes; "butterfly up --list" shows them.',
    );
  const log = await openLog(environment, flags, 'up');
  const around = await lookAround(environment, flags.cacheDir, log);
  if (flags.list) {
    print(formatOffers(around));
    return;
  }
  const choice = named === undefined ? await choose(around) : choiceOf(named, around);
  const path = choice.isHere ? choice.model : await fetchModel(choice, flags, environment);
  const command = serveCommand(environment, sayNextSteps);
  reportUsageErrors(command);
  await command.parseAsync(serveArguments(path, choice, around.facts, flags), { from: 'user' });
}

async function choose(around: Surroundings): Promise<Choice> {
  print(`${formatOffers(around)}\n`);
  for (let question = 1; ; question++) {
    const answer = await ask('Which one? [1] ');
    try {
      return choiceOf(answer === '' ? '1' : answer, around);
    } catch (error) {
      if (question === questionsMax || !(error instanceof ButterflyError)) throw error;
      tell(errorLine(error));
    }
  }
}

/** Asks before anything comes over the network. Gives the path of the model. */
async function fetchModel(
  { model, offer }: Choice,
  { yes, hubUrl, cacheDir }: UpFlags,
  environment: Environment,
): Promise<string> {
  const from: PullFlags = {
    ...(hubUrl === undefined ? {} : { hubUrl }),
    ...(cacheDir === undefined ? {} : { cacheDir }),
  };
  const what = offer ? `${offer.title} (licence: ${offer.licence ?? 'see there'})` : model;
  const size = offer ? `${formatBytes(offer.bytes)} to download` : 'as much to download as the hub says';
  tell(`${what} from ${hubUrlOf(from, environment)}: ${size}, to ${directoryOf(from, environment)}.\n`);
  if (!yes) await confirmDownload();
  return (await pullModel(model, from, environment)).path;
}

function sayNextSteps({ token, orchestrator, httpPort }: Serving): void {
  const host = addressForOthers(networkInterfaces()) ?? 'HOST';
  const address = formatAddress({ host, port: orchestrator.clusterPort });
  print(
    `Another machine joins with: BUTTERFLY_TOKEN=${token} butterfly worker --join ${address}\n` +
      `Talk to it with: butterfly chat --url http://127.0.0.1:${httpPort}\n`,
  );
}
