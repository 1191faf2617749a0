import { Command } from 'commander';
import { administratorSecret } from '../admin-client/administrator-secret.js';
import { ClusterClient } from '../admin-client/cluster-client.js';
import type { Environment } from '../environment.js';
import { apiKeyOption } from '../options.js';
import { defaultServerUrl } from '../server-url.js';
import { print } from '../terminal.js';

interface RevokeFlags {
  readonly url: string;
  readonly token?: string;
  readonly key?: string;
}

const examples = `
Examples:
  butterfly revoke laptop                           it is cut off at once, and its layers go to others`;

export function revokeCommand(environment: Environment): Command {
  return new Command('revoke')
    .description('Cut a worker off for good: its certificate is worth nothing from then on.')
    .argument('<worker>', 'name or id of the worker, as "butterfly status" shows them')
    .option('--url <url>', 'address of the server', defaultServerUrl)
    .addOption(apiKeyOption())
    .option(
      '--token <text>',
      'join token, which a server on another machine takes too (default: BUTTERFLY_TOKEN)',
    )
    .addHelpText('after', examples)
    .action(async (name: string, { url, ...secrets }: RevokeFlags) => {
      const client = new ClusterClient(url, administratorSecret(secrets, environment));
      const workerId = await client.revoke(name);
      print(`${name} (${workerId}) is cut off, and comes back only with a new join token.\n`);
    });
}
