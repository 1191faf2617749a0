import { systemClock } from '@butterfly/common';
import { Command } from 'commander';
import { administratorSecret } from '../admin-client/administrator-secret.js';
import { ClusterClient } from '../admin-client/cluster-client.js';
import { defaultServerUrl } from '../server-url.js';
import { drainWorker } from '../admin-client/drain.js';
import type { Environment } from '../environment.js';
import { apiKeyOption, wholeNumber } from '../options.js';
import { print } from '../terminal.js';

interface DrainFlags {
  readonly url: string;
  readonly token?: string;
  readonly key?: string;
  readonly timeout: number;
}

const examples = `
Examples:
  butterfly drain laptop
  BUTTERFLY_TOKEN=... butterfly drain w3 --url http://desk:8080 --timeout 1800`;

export function drainCommand(environment: Environment): Command {
  return new Command('drain')
    .description('Move the layers of a worker to others, without dropping a stream, and send it away.')
    .argument('<worker>', 'name or id of the worker, as "butterfly status" shows them')
    .option('--url <url>', 'address of the server', defaultServerUrl)
    .addOption(apiKeyOption())
    .option(
      '--token <text>',
      'join token, which a server on another machine takes too (default: BUTTERFLY_TOKEN)',
    )
    .option('--timeout <seconds>', 'how long to wait until it is empty', wholeNumber(1, 86_400), 600)
    .addHelpText('after', examples)
    .action(async (name: string, { url, timeout, ...secrets }: DrainFlags) => {
      const client = new ClusterClient(url, administratorSecret(secrets, environment));
      await drainWorker(client, { name, timeoutMs: timeout * 1000, clock: systemClock });
      print(`${name} is empty and has left the cluster.\n`);
    });
}
