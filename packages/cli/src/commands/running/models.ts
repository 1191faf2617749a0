import { formatBytes } from '@butterfly/common';
import { Command } from 'commander';
import { addServerOptions, administratorOf, type ServerFlags } from '../../admin-client/administrator.js';
import { formatModels } from '../../admin-client/format-models.js';
import type { Environment } from '../../environment.js';
import { print } from '../../terminal.js';

const named = 'name of the model, or an alias, as "butterfly ps" shows them';

export function psCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('ps').description('List the models of a running server, and which of them are loaded.'),
  )
    .option('--json', 'print JSON')
    .action(async ({ json, ...server }: ServerFlags & { readonly json?: boolean }) => {
      const models = await administratorOf(server, environment).models();
      print(json ? `${JSON.stringify({ models }, null, 2)}\n` : formatModels(models, Date.now()));
    });
}

export function loadCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('load')
      .description(
        'Load a model of a running server; what nobody uses is unloaded where it needs the memory.',
      )
      .argument('<model>', named),
  ).action(async (name: string, server: ServerFlags) => {
    const { id, loadedBytes } = await administratorOf(server, environment).load(name);
    print(`${id} is loaded and takes ${formatBytes(loadedBytes)}.\n`);
  });
}

export function unloadCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('unload')
      .description(
        'Unload a model of a running server once its answers are out; it is loaded again when it is asked for.',
      )
      .argument('<model>', named),
  ).action(async (name: string, server: ServerFlags) => {
    const { id } = await administratorOf(server, environment).unload(name);
    print(`${id} is unloaded.\n`);
  });
}
