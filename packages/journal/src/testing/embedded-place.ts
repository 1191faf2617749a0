import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedJournal } from '../embedded/open.js';
import type { JournalPlace } from './describe-journal.js';

/** A folder for embedded journals. */
export async function embeddedPlace(): Promise<JournalPlace & { readonly directory: string }> {
  const above = await mkdtemp(join(tmpdir(), 'butterfly-journal-'));
  const directory = join(above, 'journal');
  return {
    directory,
    open: (bounds) => openEmbeddedJournal({ directory, ...bounds }),
    remove: () => rm(above, { recursive: true }),
  };
}
