import { Command } from 'commander';
import { addServerOptions, administratorOf, type ServerFlags } from '../admin-client/administrator.js';
import type { Environment } from '../environment.js';
import { print } from '../terminal.js';

const examples = `
Examples:
  butterfly revoke laptop                           it is cut off at once, and its layers go to others`;

export function revokeCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('revoke')
      .description('Cut a worker off for good: its certificate is worth nothing from then on.')
      .argument('<worker>', 'name or id of the worker, as "butterfly status" shows them'),
  )
    .addHelpText('after', examples)
    .action(async (name: string, server: ServerFlags) => {
      const client = administratorOf(server, environment);
      const workerId = await client.revoke(name);
      print(`${name} (${workerId}) is cut off, and comes back only with a new join token.\n`);
    });
}
