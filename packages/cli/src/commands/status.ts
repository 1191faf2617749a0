import { Command } from 'commander';
import { addServerOptions, administratorOf, type ServerFlags } from '../admin-client/administrator.js';
import { formatCluster } from '../admin-client/format-cluster.js';
import type { Environment } from '../environment.js';
import { print } from '../terminal.js';

interface StatusFlags extends ServerFlags {
  readonly json?: boolean;
}

const examples = `
Examples:
  butterfly status
  BUTTERFLY_TOKEN=... butterfly status --url http://desk:8080
  butterfly status --json > workers.json            for butterfly plan --workers-file`;

export function statusCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('status').description(
      'Show the workers of a running server, its plan, and predicted beside measured speed.',
    ),
  )
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(async ({ json, ...server }: StatusFlags) => {
      const client = administratorOf(server, environment);
      const cluster = await client.describe();
      print(json ? `${JSON.stringify(cluster, null, 2)}\n` : formatCluster(cluster));
    });
}
