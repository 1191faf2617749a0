import { formatBytes } from '@butterfly/common';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { pullModel, type PullFlags } from '../fetching/pull-model.js';
import { cacheDirectoryOption, hubUrlOption } from '../options.js';
import { print, tell } from '../terminal.js';

const examples = `
Examples:
  butterfly pull hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Llama-3.2-1B-Instruct-Q4_0.gguf
  butterfly pull hf:ORG/REPO                        the only GGUF file there, or says which there are
  HF_TOKEN=... butterfly pull hf:ORG/PRIVATE --directory /big/models`;

export function pullCommand(environment: Environment): Command {
  return new Command('pull')
    .description('Download a model from a hub, on from where it was cut, and check it.')
    .argument('<name>', 'hf:ORG/REPO or hf:ORG/REPO:FILE; of a split model, any part')
    .option('--directory <path>', 'where models go (default: butterfly/models in the cache of the user)')
    .addOption(cacheDirectoryOption())
    .addOption(hubUrlOption())
    .addHelpText('after', examples)
    .action((model: string, flags: PullFlags) => runPull(model, flags, environment));
}

async function runPull(model: string, flags: PullFlags, environment: Environment): Promise<void> {
  const pulled = await pullModel(model, flags, environment);
  const news = pulled.downloaded === 0 ? 'was there already' : 'is here';
  const name =
    flags.directory === undefined && flags.cacheDir === undefined
      ? `hf:${pulled.repo}:${pulled.file}`
      : pulled.path;
  print(`${pulled.path}\n`);
  tell(
    `${pulled.file} (${formatBytes(pulled.bytes)}) ${news} and is what the hub has. Run it: butterfly serve ${name}\n`,
  );
}
