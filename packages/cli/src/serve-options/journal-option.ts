import { join } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import type { JournalWishes } from 'butterfly/command';
import { Option } from 'commander';

const journalModes = ['strict', 'relaxed', 'off'] as const;
export type JournalMode = (typeof journalModes)[number];

/** `--journal`, for a server whose clients may come back. */
export function journalOption(): Option {
  return new Option(
    '--journal <mode>',
    'keep requests whose clients named a way to come back, so that they go on when this server is started again: strict: a token is sent once it is kept; relaxed: at once, so that after a death the last words may be others; off: connections may be lost, but not the server',
  )
    .choices([...journalModes])
    .default('strict');
}

export interface JournalFlags {
  readonly journal: JournalMode;
  readonly nats?: readonly string[];
  readonly pool?: string;
}

/** `--nats` and `--pool`, for a journal that outlives this machine. */
export function natsOptions(): readonly Option[] {
  const servers = new Option(
    '--nats <host:port>',
    'keep requests in NATS JetStream instead of the data folder, on this server, or on three or five (repeat it): whoever is started with the same pool, on any machine, goes on with them',
  ).argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]);
  const pool = new Option('--pool <name>', 'whose requests they are, in JetStream (default: main)');
  return [servers, pool];
}

/**
 * @param dataDirectory null for a user without a home
 * @throws ButterflyError CONFIG_INVALID
 */
export function journalWishes(
  { journal, nats, pool }: JournalFlags,
  dataDirectory: string | null,
): JournalWishes | undefined {
  if (pool !== undefined && nats === undefined)
    throw invalid('pool', '--pool names requests in JetStream; say where that is with --nats.');
  if (nats !== undefined && ![1, 3, 5].includes(nats.length))
    throw invalid('nats', `--nats names 1, 3 or 5 servers, not ${nats.length}.`);
  if (nats !== undefined && journal === 'off')
    throw invalid(
      'nats',
      '--nats says where requests are kept, and --journal off that they are not; leave one out.',
    );
  const isRelaxed = journal === 'relaxed';
  if (nats !== undefined) return { kind: 'nats', servers: nats, pool: pool ?? 'main', isRelaxed };
  if (journal === 'off' || dataDirectory === null) return undefined;
  return { kind: 'folder', directory: join(dataDirectory, 'journal'), isRelaxed };
}

const invalid = (param: string, message: string): ButterflyError =>
  new ButterflyError('CONFIG_INVALID', message, { param });
