import { ButterflyError, limits } from '@butterfly/common';
import {
  authorityDirectory,
  formatJoinToken,
  type JoinTokens,
  keptTokens,
  type ListedToken,
} from '@butterfly/identity';
import { Command } from 'commander';
import { requireDataDirectory } from '../joining/data-directory.js';
import type { Environment } from '../environment.js';
import { dataDirectoryOption, wholeNumber } from '../options.js';
import { formatTable } from '../table.js';
import { print } from '../terminal.js';

interface DataFlags {
  readonly dataDir?: string;
}

interface CreateFlags extends DataFlags {
  readonly hours?: number;
  readonly uses?: number;
  readonly note: string;
}

const examples = `
Examples:
  butterfly token create                            for any number of workers, for ever
  butterfly token create --hours 24 --uses 1        for one worker, until tomorrow
  butterfly token list
  butterfly token revoke 4f0a3c6e91d2               workers that joined with it stay; see "butterfly revoke"`;

const hourMs = 3_600_000;

export function tokenCommand(environment: Environment): Command {
  const command = new Command('token')
    .description('Make, list and revoke the tokens with which workers join the cluster of this machine.')
    .addHelpText('after', examples);
  command
    .command('create')
    .description('Print a new join token.')
    .option('--hours <n>', 'until when workers may join with it (default: for ever)', wholeNumber(1, 87_600))
    .option(
      '--uses <n>',
      'how many workers may join with it (default: any number)',
      wholeNumber(1, limits.joinTokenUsesMax),
    )
    .option('--note <text>', 'what it is for, as the list shows it', '')
    .addOption(dataDirectoryOption())
    .action(async ({ hours, uses, note, ...flags }: CreateFlags) => {
      const tokens = await tokensOf(flags, environment);
      const lifeMs = hours === undefined ? null : hours * hourMs;
      print(`${formatJoinToken(await tokens.create({ lifeMs, usesMax: uses ?? null, note }))}\n`);
    });
  command
    .command('list')
    .description('Show the join tokens that are kept; their secrets are not.')
    .addOption(dataDirectoryOption())
    .option('--json', 'print JSON')
    .action(async ({ json, ...flags }: DataFlags & { readonly json?: boolean }) => {
      const listed = await (await tokensOf(flags, environment)).list();
      print(json ? `${JSON.stringify(listed.map(shown), null, 2)}\n` : formatTokens(listed));
    });
  command
    .command('revoke')
    .description('Let no more workers join with a token.')
    .argument('<id>', 'as the list shows it')
    .addOption(dataDirectoryOption())
    .action(async (id: string, flags: DataFlags) => {
      const wasThere = await (await tokensOf(flags, environment)).revoke(id);
      if (!wasThere) throw notFound(id);
      print(`Nobody joins with ${id} any more.\n`);
    });
  return command;
}

/** @throws ButterflyError CONFIG_INVALID */
function tokensOf({ dataDir }: DataFlags, environment: Environment): Promise<JoinTokens> {
  return keptTokens(authorityDirectory(requireDataDirectory(dataDir, environment)));
}

/** What anybody may see of a token. */
function shown({ id, note, createdAtMs, expiresAtMs, uses, usesMax }: ListedToken): object {
  const expiresAt = expiresAtMs === null ? null : new Date(expiresAtMs).toISOString();
  return { id, note, createdAt: new Date(createdAtMs).toISOString(), expiresAt, uses, usesMax };
}

function formatTokens(listed: readonly ListedToken[]): string {
  if (listed.length === 0) return 'There are no join tokens; make one with "butterfly token create".\n';
  const nowMs = Date.now();
  const rows = listed.map(({ id, note, expiresAtMs, uses, usesMax }) => [
    id,
    expiresAtMs === null
      ? 'never'
      : `${new Date(expiresAtMs).toISOString()}${expiresAtMs <= nowMs ? ' (past)' : ''}`,
    usesMax === null ? 'any number' : `${uses} of ${usesMax}`,
    note,
  ]);
  return formatTable([['ID', 'ENDS', 'USES', 'NOTE'], ...rows]);
}

function notFound(id: string): ButterflyError {
  return new ButterflyError('NOT_FOUND', `There is no join token ${id}; see "butterfly token list".`);
}
