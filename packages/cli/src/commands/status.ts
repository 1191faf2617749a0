import { Command } from 'commander';
import { administratorSecret } from '../admin-client/administrator-secret.js';
import { ClusterClient } from '../admin-client/cluster-client.js';
import { defaultServerUrl } from '../server-url.js';
import { formatCluster } from '../admin-client/format-cluster.js';
import type { Environment } from '../environment.js';
import { apiKeyOption } from '../options.js';
import { print } from '../terminal.js';

interface StatusFlags {
  readonly url: string;
  readonly token?: string;
  readonly key?: string;
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
    .addOption(apiKeyOption())
    .option(
      '--token <text>',
      'join token, which a server on another machine takes too (default: BUTTERFLY_TOKEN)',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(async ({ url, json, ...secrets }: StatusFlags) => {
      const client = new ClusterClient(url, administratorSecret(secrets, environment));
      const cluster = await client.describe();
      print(json ? `${JSON.stringify(cluster, null, 2)}\n` : formatCluster(cluster));
    });
}
