export { openEmbeddedJournal } from './embedded/open.js';
export type { EmbeddedJournalOptions } from './embedded/open.js';
export type { Journal, KeptRequest, RequestRecord } from './journal.js';
