import { setTimeout as wait } from 'node:timers/promises';
import { ButterflyError, deadlines } from '@butterfly/common';
import type { JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { failed } from '../failure.js';
import type { Journal } from '../journal.js';
import { checkBounds, type JournalBounds } from '../ledger.js';
import { NatsJournal } from './nats-journal.js';
import { StreamStore, tryMs } from './stream-store.js';
import { surveyStream } from './survey.js';

/** Where the servers of a journal are, and how much it keeps at most. */
export interface NatsJournalOptions extends JournalBounds {
  /** `HOST:PORT` of some of the servers; they tell of the others. */
  readonly servers: readonly string[];
  /** Which journal of these servers: letters, digits, `-` and `_`, at most 64. */
  readonly pool: string;
  /** Servers that have all of it: 1, 3 or 5. It goes on while more than half of them do. */
  readonly replicas: number;
  /** How long a call waits while servers choose a leader, or none answers; `deadlines.journalMs` by default. */
  readonly waitMs?: number;
  /** Who asks, where the servers want to know. */
  readonly login?: { readonly user: string; readonly pass: string } | { readonly token: string };
  /** TLS, with files as PEM: who answers for the servers, and who asks. */
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string };
}

const mark = 'butterfly journal ';
const version = 1;
const streamInUse = 10_058;
const streamNotFound = 10_059;
const reconnectEveryMs = 200;
/** A message's own head and the server's note of it, beside what the server takes as a payload. */
const headBytes = 4 * 1024;
/** Of what is kept, what a server may have on its disk: deleted messages are there for a while. */
const storedShare = 1.25;

/**
 * Opens a journal in a stream of JetStream, NATS 2.9 or later, and makes it where there is none. Acknowledged is what more than half
 * of the replicas have. Of two processes that go on with one request, the one that writes first has it; the other fails.
 * @throws ButterflyError CONFIG_INVALID for an option; JOURNAL_FAILED where no server answers, or for what is no journal
 */
export async function openNatsJournal(options: NatsJournalOptions): Promise<Journal> {
  checkBounds(options);
  const { pool, bytesMax, requestsMax, waitMs = deadlines.journalMs } = options;
  if (!/^[\w-]{1,64}$/u.test(pool))
    throw new ButterflyError('CONFIG_INVALID', 'pool must have 1 to 64 letters, digits, - and _.');
  if (![1, 3, 5].includes(options.replicas))
    throw new ButterflyError('CONFIG_INVALID', 'replicas must be 1, 3 or 5.');
  const connection = await connected(options);
  try {
    const timeout = Math.min(waitMs, tryMs);
    const { jetstream, jetstreamManager } = await import('@nats-io/jetstream');
    const manager = await jetstreamManager(connection, { timeout, checkAPI: false });
    const stream = `butterfly-journal-${pool}`;
    await ensureStream(manager, stream, options);
    const store = new StreamStore(connection, jetstream(connection, { timeout }), manager, stream, waitMs);
    const { found, litter } = await surveyStream(store, pool);
    await store.purge(litter);
    const messageBytesMax = Math.max(headBytes, (connection.info?.max_payload ?? 1024 * 1024) - headBytes);
    return new NatsJournal(store, pool, messageBytesMax, { bytesMax, requestsMax }, found);
  } catch (error) {
    await connection.close();
    if (error instanceof ButterflyError) throw error;
    throw failed('The journal in NATS could not be opened; see to its servers', error);
  }
}

async function connected({ servers, login, tls }: NatsJournalOptions): Promise<NatsConnection> {
  const { connect } = await import('@nats-io/transport-node');
  try {
    return await connect({
      ...{ servers: [...servers], ...login, ...(tls && { tls }), name: 'butterfly journal' },
      ...{ timeout: deadlines.connectMs, maxReconnectAttempts: -1, reconnectTimeWait: reconnectEveryMs },
    });
  } catch (cause) {
    throw failed(
      `No NATS server of the journal answers at ${servers.join(', ')}; start it, or name another one`,
      cause,
    );
  }
}

/** Makes the stream or sets its bounds; servers that have just been started choose a leader first. */
async function ensureStream(
  manager: JetStreamManager,
  name: string,
  { pool, replicas, bytesMax, waitMs = deadlines.journalMs }: NatsJournalOptions,
): Promise<void> {
  const own = {
    ...{ name, subjects: [`journal.${pool}.>`], num_replicas: replicas, description: `${mark}${version}` },
    // Refused, not dropped: what is kept goes when it is forgotten.
    ...{ discard: 'new' as const, max_bytes: Math.ceil(bytesMax * storedShare) + 1024 * 1024 },
  };
  const deadline = Date.now() + waitMs;
  for (;;) {
    try {
      const { config } = await manager.streams.info(name);
      if (config.description !== own.description)
        throw failed(
          `The stream ${name} is no journal of version ${version} (${JSON.stringify(config.description ?? '')}); name another pool, or remove it`,
        );
      await manager.streams.update(name, own);
      return;
    } catch (error) {
      if (error instanceof ButterflyError) throw error;
      const made =
        codeOf(error) === streamNotFound ? await manager.streams.add(own).catch((e: unknown) => e) : error;
      if (!(made instanceof Error)) return;
      if (codeOf(made) === streamInUse) continue;
      if (Date.now() > deadline)
        throw failed(
          `The stream ${name} for the journal cannot be made; see that its servers are there, with JetStream`,
          made,
        );
      await wait(reconnectEveryMs);
    }
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}
