import { createInterface } from 'node:readline';
import { ButterflyError, systemClock } from '@butterfly/common';
import { ownModel } from 'butterfly/command';
import { Command } from 'commander';
import { ApiClient } from '../api-client/api-client.js';
import { ChatSession } from '../chat/chat-session.js';
import type { Environment } from '../environment.js';
import { addLocalOptions, type LocalFlags } from '../local-serving.js';
import { apiKeyOption, decimal, wholeNumber } from '../options.js';
import { tell } from '../terminal.js';
import { withServer } from '../with-server.js';

interface ChatFlags extends LocalFlags {
  readonly url?: string;
  readonly key?: string;
  readonly system?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
}

const examples = `
Examples:
  butterfly chat model.gguf
  butterfly chat --url http://127.0.0.1:8080 --system "Answer in one sentence."

/help lists what can be typed beside what is said.`;

export function chatCommand(environment: Environment): Command {
  const command = new Command('chat')
    .description('Talk with a model at the terminal.')
    .argument('[model]', 'GGUF file (default: the small one that ships with Butterfly)')
    .option('--url <url>', 'talk with a running server instead of starting one')
    .addOption(apiKeyOption())
    .option('--system <text>', 'instructions for the model')
    .option('--max-tokens <n>', 'longest answer (default: what the context leaves)', wholeNumber(1, 1 << 20))
    .option('--temperature <t>', '0 always takes the likeliest token', decimal(0, 2))
    .option('--top-p <p>', 'keep the likeliest tokens of this total probability', decimal(0, 1))
    .option('--seed <n>', 'the same seed gives the same answers', wholeNumber(0, 0xffff_ffff))
    .addHelpText('after', examples)
    .action((model: string | undefined, flags: ChatFlags) => chat(model, flags, environment));
  return addLocalOptions(command);
}

async function chat(model: string | undefined, flags: ChatFlags, environment: Environment): Promise<void> {
  if (model !== undefined && flags.url !== undefined)
    throw new ButterflyError('CONFIG_INVALID', 'Name a model or the --url of a server, not both.');
  const source = flags.url ?? { model: model ?? ownModel, flags, environment, command: 'chat', parallel: 1 };
  await withServer(source, async (url, ending) => {
    const isTerminal = process.stdin.isTTY && process.stderr.isTTY;
    const lines = createInterface({
      input: process.stdin,
      // What is typed and asked for is beside the output, which has the answers alone.
      output: isTerminal ? process.stderr : undefined,
      terminal: isTerminal,
      prompt: '',
    });
    if (isTerminal) tell('/help lists what can be typed; Ctrl-D ends.\n');
    const { temperature, topP, maxTokens, seed } = flags;
    const settings = { temperature, topP, maxTokens, seed };
    const client = new ApiClient(url, flags.key ?? environment.BUTTERFLY_API_KEY ?? null);
    const system = flags.system ?? null;
    const session = new ChatSession({ client, lines, settings, system, clock: systemClock });
    void ending.then(() => session.stop());
    await session.run();
  });
}
