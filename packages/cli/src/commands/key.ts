import { ButterflyError, limits } from '@butterfly/common';
import { formatApiKey, KeyFiles, type KeyLimits, type KeyRecord, keysDirectory } from '@butterfly/identity';
import { Command, InvalidArgumentError } from 'commander';
import type { Environment } from '../environment.js';
import { requireDataDirectory } from '../joining/data-directory.js';
import { dataDirectoryOption, wholeNumber } from '../options.js';
import { formatTable } from '../table.js';
import { print } from '../terminal.js';

interface DataFlags {
  readonly dataDir?: string;
}

interface CreateFlags extends DataFlags {
  readonly hours?: number;
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly concurrent?: number;
  readonly model?: readonly string[];
  readonly priority: number;
  readonly admin?: boolean;
  readonly note: string;
}

const examples = `
Examples:
  butterfly key create --note "the kitchen's chat"
  butterfly key create --requests-per-minute 60 --tokens-per-minute 20000 --concurrent 4
  butterfly key create --admin                      for "butterfly status" and "drain" from elsewhere
  butterfly key list
  butterfly key revoke 4f0a3c6e91d2                 within a second nobody asks with it any more`;

const hourMs = 3_600_000;
const perMinute = wholeNumber(1, limits.ratePerMinuteMax);

export function keyCommand(environment: Environment): Command {
  const command = new Command('key')
    .description('Make, list and revoke the keys with which clients ask the API of this machine.')
    .addHelpText('after', examples);
  command.addCommand(createCommand(environment));
  command
    .command('list')
    .description('Show the API keys that there are; their secrets are not kept.')
    .addOption(dataDirectoryOption())
    .option('--json', 'print JSON')
    .action(async ({ json, ...flags }: DataFlags & { readonly json?: boolean }) => {
      const listed = await filesOf(flags, environment).list();
      print(json ? `${JSON.stringify(listed.map(shown), null, 2)}\n` : formatKeys(listed));
    });
  command
    .command('revoke')
    .description('Let nobody ask with a key any more; what was asked before goes on.')
    .argument('<id>', 'as the list shows it')
    .addOption(dataDirectoryOption())
    .action(async (id: string, flags: DataFlags) => {
      if (!(await filesOf(flags, environment).revoke(id)))
        throw new ButterflyError('NOT_FOUND', `There is no API key ${id}; see "butterfly key list".`);
      print(`Nobody asks with ${id} any more.\n`);
    });
  return command;
}

function createCommand(environment: Environment): Command {
  return new Command('create')
    .description('Print a new API key. It is shown once, since only its hash is kept.')
    .option('--hours <n>', 'how long it is good (default: for ever)', wholeNumber(1, 87_600))
    .option('--requests-per-minute <n>', 'requests that it has (default: any number)', perMinute)
    .option(
      '--tokens-per-minute <n>',
      'tokens of prompts and answers that it has (default: any number)',
      perMinute,
    )
    .option('--concurrent <n>', 'answers at once (default: any number)', perMinute)
    .option('--model <id>', 'a model that it is for (default: all); can be repeated', moreModels)
    .option(
      '--priority <n>',
      'how urgent its requests may be at most: the lower, the earlier',
      wholeOrNegative,
      0,
    )
    .option('--admin', 'whether it opens /cluster too')
    .option('--note <text>', 'what it is for, as the list shows it', '')
    .addOption(dataDirectoryOption())
    .action(async (flags: CreateFlags) => {
      const { hours, note, admin = false } = flags;
      const lifeMs = hours === undefined ? null : hours * hourMs;
      const files = filesOf(flags, environment);
      print(
        `${formatApiKey(await files.create({ lifeMs, note, isAdmin: admin, limits: limitsOf(flags) }))}\n`,
      );
    });
}

function limitsOf(flags: CreateFlags): KeyLimits {
  return {
    requestsPerMinute: flags.requestsPerMinute ?? null,
    tokensPerMinute: flags.tokensPerMinute ?? null,
    concurrent: flags.concurrent ?? null,
    models: flags.model ?? null,
    priorityMax: flags.priority,
  };
}

function moreModels(text: string, others: readonly string[] | undefined): readonly string[] {
  const models = [...(others ?? []), text];
  if (models.length > limits.apiKeyModelsMax || text.length > limits.modelIdCharactersMax)
    throw new InvalidArgumentError(
      `It may be given ${limits.apiKeyModelsMax} times at most, with ${limits.modelIdCharactersMax} characters each.`,
    );
  return models;
}

function wholeOrNegative(text: string): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || Math.abs(value) > limits.priorityMax)
    throw new InvalidArgumentError(
      `It must be a whole number from -${limits.priorityMax} to ${limits.priorityMax}.`,
    );
  return value;
}

/** @throws ButterflyError CONFIG_INVALID */
function filesOf({ dataDir }: DataFlags, environment: Environment): KeyFiles {
  return new KeyFiles(keysDirectory(requireDataDirectory(dataDir, environment)));
}

/** What anybody may see of a key. */
function shown({ id, note, createdAtMs, expiresAtMs, isAdmin, limits: own }: KeyRecord): object {
  const expiresAt = expiresAtMs === null ? null : new Date(expiresAtMs).toISOString();
  return { id, note, createdAt: new Date(createdAtMs).toISOString(), expiresAt, isAdmin, ...own };
}

function formatKeys(listed: readonly KeyRecord[]): string {
  if (listed.length === 0) return 'There are no API keys; make one with "butterfly key create".\n';
  const nowMs = Date.now();
  const rows = listed.map(({ id, note, expiresAtMs, isAdmin, limits: own }) => [
    id,
    expiresAtMs === null
      ? 'never'
      : `${new Date(expiresAtMs).toISOString()}${expiresAtMs <= nowMs ? ' (past)' : ''}`,
    `${own.requestsPerMinute ?? '-'}`,
    `${own.tokensPerMinute ?? '-'}`,
    `${own.concurrent ?? '-'}`,
    `${own.priorityMax}`,
    own.models?.join(', ') ?? 'all',
    isAdmin ? 'yes' : 'no',
    note,
  ]);
  const head = ['ID', 'ENDS', 'REQUESTS/MIN', 'TOKENS/MIN', 'AT ONCE', 'PRIORITY', 'MODELS', 'ADMIN', 'NOTE'];
  return formatTable([head, ...rows]);
}
