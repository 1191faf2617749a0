import { join } from 'node:path';
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

/** @param dataDirectory null for a user without a home */
export function journalWishes(mode: JournalMode, dataDirectory: string | null): JournalWishes | undefined {
  if (mode === 'off' || dataDirectory === null) return undefined;
  return { directory: join(dataDirectory, 'journal'), isRelaxed: mode === 'relaxed' };
}
