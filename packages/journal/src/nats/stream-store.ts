import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';
import type { JetStreamApiError, JetStreamClient, JetStreamManager, JsMsg } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { failed } from '../failure.js';

/** Codes of the server, as its source has them. */
const wrongLastSequence = 10_071;
const noMessage = 10_037;

/** How long the server may take for one try; a new leader takes some seconds, and then another try goes to that one. */
export const tryMs = 1_500;
const betweenTriesMs = 50;
const messagesAtOnce = 500;

/** A stream of JetStream, with how long a call waits for it: what Butterfly needs of it, with deadlines, tries and errors of the table. */
export class StreamStore {
  readonly #tryMs: number;

  constructor(
    private readonly connection: NatsConnection,
    private readonly client: JetStreamClient,
    private readonly manager: JetStreamManager,
    private readonly stream: string,
    private readonly waitMs: number,
  ) {
    this.#tryMs = Math.min(waitMs, tryMs);
  }

  /**
   * Appends a message to a subject whose last one has this sequence, 0 for none; however often it must be tried, it is there
   * once. The sequence that it has.
   * @throws ButterflyError JOURNAL_FAILED, also where another process wrote there
   */
  publish(subject: string, data: Uint8Array, lastSubjectSequence: number): Promise<number> {
    const msgID = randomUUID();
    return this.#tried('written', async () => {
      try {
        const expect = { lastSubjectSequence };
        return (await this.client.publish(subject, data, { msgID, expect, timeout: this.#tryMs, retries: 1 }))
          .seq;
      } catch (error) {
        if (codeOf(error) !== wrongLastSequence) throw error;
        const last = await this.#last(subject);
        if (last?.msgID === msgID) return last.seq;
        throw failed(
          'Another process goes on with a request of this journal, so this one lets go of it',
          error,
        );
      }
    });
  }

  /** Removes all messages of subjects. @throws ButterflyError JOURNAL_FAILED */
  async purge(subjects: readonly string[]): Promise<void> {
    for (const filter of subjects)
      await this.#tried('written', () => this.manager.streams.purge(this.stream, { filter }));
  }

  /**
   * Messages of subjects, in the order in which they were published, as many as there are when it begins.
   * @throws ButterflyError JOURNAL_FAILED
   */
  async *read(subjects: string): AsyncGenerator<JsMsg> {
    const consumer = await this.#tried('read', () =>
      this.client.consumers.get(this.stream, { filter_subjects: subjects }),
    );
    try {
      let left = (await this.#tried('read', () => consumer.info())).num_pending;
      let deadline = Date.now() + this.waitMs;
      while (left > 0) {
        if (Date.now() > deadline) throw failed('JetStream gave no messages of the journal in time');
        const batch = { max_messages: Math.min(left, messagesAtOnce), expires: tryMs };
        for await (const message of await consumer.fetch(batch)) {
          deadline = Date.now() + this.waitMs;
          yield message;
          left--;
        }
      }
    } catch (error) {
      throw this.#failure('read', error);
    } finally {
      // Else the server forgets it after minutes.
      await consumer.delete().catch(() => false);
    }
  }

  damaged(): ButterflyError {
    return failed(
      `The stream ${this.stream} holds what no journal wrote; remove it, or name another pool to begin a new one`,
    );
  }

  async close(): Promise<void> {
    await this.connection.close();
  }

  async #last(subject: string): Promise<{ readonly seq: number; readonly msgID: string } | null> {
    try {
      const found = await this.manager.streams.getMessage(this.stream, { last_by_subj: subject });
      return found && { seq: found.seq, msgID: found.header.get('Nats-Msg-Id') };
    } catch (error) {
      if (codeOf(error) === noMessage) return null;
      throw error;
    }
  }

  async #tried<T>(what: 'read' | 'written', attempt: () => Promise<T>): Promise<T> {
    const deadline = Date.now() + this.waitMs;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        const isOver = Date.now() + betweenTriesMs > deadline;
        if (isOver || !mayPass(error) || this.connection.isClosed()) throw this.#failure(what, error);
        await wait(betweenTriesMs);
      }
    }
  }

  #failure(what: 'read' | 'written', error: unknown): ButterflyError {
    if (error instanceof ButterflyError) return error;
    return failed(`The stream ${this.stream} of the journal could not be ${what}; see to its servers`, error);
  }
}

/** Errors of the client that no other try makes better. */
const hopeless = /^(?:ButterflyError|TypeError|Invalid.*|AuthorizationError|PermissionViolationError)$/u;

/** Whether another try may go well: silence, no leader, no connection; and not what a server refused. */
function mayPass(error: unknown): boolean {
  if (!(error instanceof Error) || hopeless.test(error.name)) return false;
  const refusal = refusalOf(error);
  return refusal === null || refusal.status === 503;
}

function codeOf(error: unknown): number | null {
  return error instanceof Error ? (refusalOf(error)?.code ?? null) : null;
}

/** What a server answered; null for what is none. The class is loaded with the client alone. */
function refusalOf(error: Error): JetStreamApiError | null {
  return 'apiError' in error ? (error as JetStreamApiError) : null;
}
