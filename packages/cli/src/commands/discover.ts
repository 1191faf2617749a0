import { formatAddress } from '@butterfly/common';
import { Command } from 'commander';
import { discover } from '../discovery/discover.js';
import { formatTable } from '../table.js';
import { print, tell } from '../terminal.js';

const examples = `
Examples:
  butterfly discover
  butterfly discover --json | jq -r '.[0].host'`;

export function discoverCommand(): Command {
  return new Command('discover')
    .description('List the orchestrators that announce themselves on this network (serve --announce).')
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(async ({ json }: { readonly json?: boolean }) => {
      const found = await discover();
      if (json) print(`${JSON.stringify(found, null, 2)}\n`);
      else if (found.length === 0) tell('No orchestrator announces itself on this network.\n');
      else
        print(
          formatTable([
            ['address', 'model', 'protocol', 'name'],
            ...found.map((each) => [formatAddress(each), each.model, String(each.protocol), each.name]),
          ]),
        );
    });
}
