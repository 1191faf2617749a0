import { Command } from 'commander';
import { ClusterClient } from '../admin-client/cluster-client.js';
import { defaultServerUrl } from '../server-url.js';
import { formatCluster } from '../admin-client/format-cluster.js';
import type { Environment } from '../environment.js';
import { print } from '../terminal.js';

interface StatusFlags {
  readonly url: string;
  readonly token?: string;
  readonly json?: boolean;
}

const examples = `
Examples:
  butterfly status
  BUTTERFLY_TOKEN=... butterfly status --url http://desk:8080
  butterfly status --json > workers.json            for butterfly plan --workers-file`;

export function statusCommand(environment: Environment): Command {
  return new Command('status')
    .description('Show the workers of a running server, its plan, and predicted beside measured speed.')
    .option('--url <url>', 'address of the server', defaultServerUrl)
    .option('--token <text>', 'join token, for a server on another machine (default: BUTTERFLY_TOKEN)')
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(async ({ url, token, json }: StatusFlags) => {
      const client = new ClusterClient(url, token ?? environment.BUTTERFLY_TOKEN ?? null);
      const cluster = await client.describe();
      print(json ? `${JSON.stringify(cluster, null, 2)}\n` : formatCluster(cluster));
    });
}
