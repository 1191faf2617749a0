import { ButterflyError } from '@butterfly/common';
import { failed } from '../failure.js';
import type { Journal } from '../journal.js';
import { checkBounds, type JournalBounds } from '../ledger.js';
import { EmbeddedJournal } from './embedded-journal.js';
import { keyBytes, sealed, slotsMax, unsealed } from './layout.js';
import { LevelStore } from './level.js';
import { survey } from './survey.js';

/** Where an embedded journal lies and how much it keeps at most. */
export interface EmbeddedJournalOptions extends JournalBounds {
  /** A folder of its own; made where it is missing, for this user alone. */
  readonly directory: string;
}

/** Of what lies in the folder. A later Butterfly may read those before; this one reads its own. */
const version = 1;
const mark = 'butterfly journal ';
const versionKey = keyBytes({ kind: 'version' });

/** What is gathered in memory before it is sorted into files; some 12 such files may wait for that. */
const bufferBytesMax = 2 * 1024 * 1024;
const bufferBytesMin = 64 * 1024;

/**
 * Opens a journal in a folder. What is kept survives the death of this process at any time; of what came in the last half minute
 * or so a loss of power may take some, but then of each request all that came after too.
 * @throws ButterflyError CONFIG_INVALID for a bound; JOURNAL_FAILED where another process has it, for what is none or is damaged
 */
export async function openEmbeddedJournal(options: EmbeddedJournalOptions): Promise<Journal> {
  const { directory, bytesMax, requestsMax } = options;
  checkBounds(options);
  if (requestsMax > slotsMax)
    throw new ButterflyError('CONFIG_INVALID', `requestsMax must be at most ${slotsMax}.`);
  const bufferBytes = Math.min(bufferBytesMax, Math.max(bufferBytesMin, Math.floor(bytesMax / 16)));
  const store = await LevelStore.open(directory, bufferBytes);
  try {
    await checkVersion(store, directory);
    const { places, litter } = await survey(store);
    for (const range of litter) await store.clear(range);
    return new EmbeddedJournal(store, { bytesMax, requestsMax }, places);
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Marks a new store, and looks for the mark of one that is there. */
async function checkVersion(store: LevelStore, directory: string): Promise<void> {
  let isEmpty = true;
  for await (const [key, value] of store.read({ gte: new Uint8Array(), lt: Uint8Array.of(0xff, 0xff) })) {
    isEmpty = false;
    const text = Buffer.from(unsealed(key, value)?.payload ?? []).toString();
    // A damaged store may say so only behind all that can be read of it.
    if (Buffer.compare(key, versionKey) !== 0 || !text.startsWith(mark)) continue;
    if (text === `${mark}${version}`) return;
    throw failed(
      `The journal in ${directory} is of version ${text.slice(mark.length)}, and this Butterfly reads ${version}; let that Butterfly finish it, or move it away`,
    );
  }
  if (!isEmpty) throw failed(`The folder ${directory} holds another database; name another one`);
  const value = sealed(versionKey, 0, [Buffer.from(`${mark}${version}`)]);
  await store.write([{ type: 'put', key: versionKey, value }]);
}
