import { systemClock } from '@butterfly/common';
import { Command } from 'commander';
import { addServerOptions, administratorOf, type ServerFlags } from '../../admin-client/administrator.js';
import { drainWorker } from '../../admin-client/drain.js';
import type { Environment } from '../../environment.js';
import { wholeNumber } from '../../options.js';
import { print } from '../../terminal.js';

interface DrainFlags extends ServerFlags {
  readonly timeout: number;
}

const examples = `
Examples:
  butterfly drain laptop
  BUTTERFLY_TOKEN=... butterfly drain w3 --url http://desk:8080 --timeout 1800`;

export function drainCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('drain')
      .description('Move the layers of a worker to others, without dropping a stream, and send it away.')
      .argument('<worker>', 'name or id of the worker, as "butterfly status" shows them'),
  )
    .option('--timeout <seconds>', 'how long to wait until it is empty', wholeNumber(1, 86_400), 600)
    .addHelpText('after', examples)
    .action(async (name: string, { timeout, ...server }: DrainFlags) => {
      const client = administratorOf(server, environment);
      await drainWorker(client, { name, timeoutMs: timeout * 1000, clock: systemClock });
      print(`${name} is empty and has left the cluster.\n`);
    });
}
