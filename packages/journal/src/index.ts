export { openEmbeddedJournal } from './embedded/open.js';
export type { EmbeddedJournalOptions } from './embedded/open.js';
export type { Journal, KeptRequest, RequestRecord } from './journal.js';
export type { JournalBounds } from './ledger.js';
export { openNatsJournal } from './nats/open.js';
export type { NatsJournalOptions } from './nats/open.js';
