import { ButterflyError, deadlines, limits, toButterflyError } from '@butterfly/common';
import { decodeTapeLine, type TapeLine } from '@butterfly/generation';
import type { Journal, RequestRecord } from '@butterfly/journal';
import type { Visit } from '../access/visit.js';
import type { ApiContext, Resumption } from '../context.js';
import { AnswerJournal } from './answer-journal.js';
import { beginAnswer } from './begun.js';
import type { ParsedRequest } from './dialect.js';
import { earlierRequests } from './earlier-answers.js';
import { type KeptAnswer, keptAnswerOf, recordOf } from './kept-answer.js';
import { ResumableAnswer } from './resumable-answer.js';
import { handleText } from './answer-handle.js';

/** Reads what was asked at a path. @throws ButterflyError as it does for a client */
export type ReadRequest = (body: unknown) => ParsedRequest;

/** What routes answer from: what the API serves, and the answers that clients may come back to. */
export interface ApiServing extends ApiContext {
  readonly resumables: ResumableAnswers;
}

/** An answer that is wanted. */
interface Asking {
  readonly kept: KeptAnswer;
  readonly asked: ParsedRequest;
  /** Null for one that was let in and paid for before. */
  readonly visit: Visit | null;
}

/** An answer of this process, or on its way to be one. */
interface Entry {
  readonly requestId: string;
  /** Settles when it has begun, or could not. */
  readonly answer: Promise<ResumableAnswer>;
  /** Null until then. */
  begun: ResumableAnswer | null;
  /** Of the end of its grace, or of its time when it is over. */
  cancelTimer: () => void;
  isOver: boolean;
}

/** For a server of which nothing is said: connections may be lost, but not the process. */
const noJournal: Resumption = { journal: null, isRelaxed: true, graceMs: deadlines.resumeGraceMs };

/**
 * The answers that outlive the connections of their clients, and with a journal this process: those that run, those that are over and
 * stay a while for clients that come late, and those that an earlier process left.
 */
export class ResumableAnswers {
  readonly #settings: Resumption;
  readonly #readers = new Map<string, ReadRequest>();
  /** By handle, in the order in which they began. */
  readonly #entries = new Map<string, Entry>();
  /** Of an earlier process, and over, by handle: told again when somebody asks. */
  readonly #earlier = new Map<string, RequestRecord>();
  #restored: Promise<void> = Promise.resolve();
  #isSuspended = false;
  /** Of what an earlier process left. */
  #cancelTimer: () => void = () => undefined;

  constructor(private readonly context: ApiContext) {
    this.#settings = context.resumption ?? noJournal;
  }

  /** Says how the requests of a path are read: those of an earlier process are read again. */
  reads(url: string, read: ReadRequest): void {
    this.#readers.set(url, read);
  }

  /** Goes on with what an earlier process left; whoever asks meanwhile waits until that is known. */
  restore(): void {
    const { journal } = this.#settings;
    if (journal) this.#restored = this.#restore(journal).catch(this.#tell(null));
  }

  /** Those that a journal keeps go on in another process, the others here to their ends. */
  async suspend(): Promise<void> {
    this.#isSuspended = true;
    await this.#restored;
    if (this.#settings.journal) for (const { begun } of this.#entries.values()) begun?.suspend();
  }

  close(): void {
    this.#cancelTimer();
    for (const { cancelTimer } of this.#entries.values()) cancelTimer();
  }

  /** The answer with a handle, told again where it is of an earlier process; null where there is none. */
  async find(handle: string): Promise<ResumableAnswer | null> {
    await this.#restored;
    const earlier = this.#earlier.get(handle);
    if (earlier) {
      this.#earlier.delete(handle);
      // Of which all was told before.
      this.#revive(earlier, { ...this.context, observe: () => undefined });
    }
    return (await this.#entries.get(handle)?.answer.catch(() => null)) ?? null;
  }

  /** Those that have this handle, or one that begins with it and two colons, by handle. */
  async lookup(handle: string): Promise<ReadonlyMap<string, ResumableAnswer>> {
    await this.#restored;
    const known = [...this.#earlier.keys(), ...this.#entries.keys()];
    const found = new Map<string, ResumableAnswer>();
    for (const each of known.filter((other) => other === handle || other.startsWith(`${handle}::`))) {
      const answer = await this.find(each);
      if (answer) found.set(each, answer);
    }
    return found;
  }

  /**
   * Begins an answer. One with the same key is the same answer; with any other handle it takes the place of the one before. Waits for
   * the model, where it is not loaded.
   * @throws ButterflyError as `beginAnswer` and `ModelDirectory.use` do; QUEUE_FULL, JOURNAL_FAILED, CLUSTER_NOT_READY
   */
  async begin({ body, ...asking }: Asking & { readonly body: unknown }): Promise<ResumableAnswer> {
    const { kept } = asking;
    const handle = handleText(kept.handle, kept.tenant);
    const before = await this.find(handle);
    // Another request with this key may have begun it meanwhile.
    const entry = this.#entries.get(handle);
    const hasFailed = before?.state === 'failed' && entry?.begun === before;
    if (entry && kept.handle.kind === 'key' && !hasFailed) return entry.answer;
    this.#drop(handle);
    this.#makeRoom();
    return this.#enter(handle, kept.requestId, async () => {
      await this.#settings.journal?.begin(recordOf(kept, body));
      return this.#started(asking, [], this.context);
    });
  }

  /** Ends an answer, where it runs, and forgets it. */
  async drop(handle: string): Promise<void> {
    await this.#restored;
    this.#drop(handle);
  }

  #drop(handle: string): void {
    const requestId = this.#entries.get(handle)?.requestId ?? this.#earlier.get(handle)?.id;
    const entry = this.#entries.get(handle);
    this.#entries.delete(handle);
    this.#earlier.delete(handle);
    entry?.cancelTimer();
    entry?.answer.then((answer) => answer.cancel()).catch(() => undefined);
    if (requestId !== undefined) this.#forget(requestId);
  }

  /** It is found by its handle from now on, begun or not. */
  #enter(handle: string, requestId: string, begin: () => Promise<ResumableAnswer>): Promise<ResumableAnswer> {
    if (this.#isSuspended)
      throw new ButterflyError('CLUSTER_NOT_READY', 'The server is shutting down; ask again in a moment.');
    const answer = begin();
    const entry: Entry = { requestId, answer, begun: null, cancelTimer: () => undefined, isOver: false };
    this.#entries.set(handle, entry);
    answer.then(
      (begun) => {
        entry.begun = begun;
        if (this.#isSuspended && this.#settings.journal) begun.suspend();
        if (begun.state === 'done' || begun.state === 'failed') this.#isOver(entry, begun);
      },
      () => {
        if (this.#entries.get(handle) === entry) this.#drop(handle);
      },
    );
    return answer;
  }

  /** @param heard in an earlier life @param context where it is told of */
  async #started(
    { kept, asked, visit }: Asking,
    heard: readonly TapeLine[],
    context: ApiContext,
  ): Promise<ResumableAnswer> {
    const { requestId, answerId: id, createdS, model } = kept;
    const answer = this.#newAnswer(kept, asked);
    const { keepMs, encoding } = asked;
    const use = await context.models.use(model, keepMs === undefined ? {} : { keepMs });
    const [head, tape] = [{ id, createdS, requestId }, answer.tape(heard)];
    const begun = await beginAnswer(context, { asked, head, visit, use, tape });
    void answer.run(encoding, begun.answering, begun.head).finally(() => begun[Symbol.dispose]());
    return answer;
  }

  #newAnswer(kept: KeptAnswer, asked: ParsedRequest): ResumableAnswer {
    const { journal, isRelaxed } = this.#settings;
    const { requestId } = kept;
    const entry = (): Entry | undefined => this.#entries.get(handleText(kept.handle, kept.tenant));
    const keepsIn = (into: Journal): AnswerJournal =>
      new AnswerJournal({
        ...{ journal: into, id: requestId, isRelaxed },
        onFailure: (error) => {
          this.#tell(requestId)(error);
          if (!isRelaxed) answer.journalFailed(error);
        },
      });
    const answer: ResumableAnswer = new ResumableAnswer({
      ...{ kept, form: asked.encoding.form, journal: journal && keepsIn(journal) },
      // In the background it is the stream that tells how it stands.
      isStream: asked.stream || kept.handle.kind === 'response',
      onLeft: () => this.#abandonLater(entry(), answer),
      onOver: () => this.#isOver(entry(), answer),
      onFailure: (error) =>
        this.context.observe({ kind: 'streamBroken', requestId, isClientGone: false, error }),
    });
    return answer;
  }

  async #restore(journal: Journal): Promise<void> {
    const kept = await journal.requests();
    const { unfinished, over, forgotten } = earlierRequests(kept, Date.now(), deadlines.resumableKeptMs);
    for (const id of forgotten) this.#forget(id);
    for (const { record } of over) this.#earlier.set(record.handle, record);
    if (over.length > 0)
      this.#cancelTimer = this.context.clock.after(deadlines.resumableKeptMs, () => {
        for (const handle of this.#earlier.keys()) this.#drop(handle);
      });
    for (const { record } of unfinished) this.#revive(record, this.context);
  }

  /** Tells an answer of an earlier process again, and goes on with it where it is not over. */
  #revive(record: RequestRecord, context: ApiContext): void {
    const revived = this.#enter(record.handle, record.id, async () => {
      const { journal } = this.#settings;
      const heard = ((await journal?.entries(record.id)) ?? []).map(decodeTapeLine);
      const { kept, body } = keptAnswerOf(record);
      const read = this.#readers.get(kept.url);
      if (!read) throw new ButterflyError('JOURNAL_FAILED', `Nothing answers at ${kept.url} any more.`);
      const asking = { kept, asked: askedAgain(kept, read(body), Date.now()), visit: null };
      const route = `POST ${kept.url}`;
      context.observe({ kind: 'requestRestored', requestId: record.id, route, lines: heard.length });
      return this.#started(asking, heard, context);
    });
    revived.then((answer) => {
      // Its client has as long to come back as if it had just gone.
      this.#abandonLater(this.#entries.get(record.handle), answer);
    }, this.#tell(record.id));
  }

  /** A client that lost its connection has a while to come back. */
  #abandonLater(entry: Entry | undefined, answer: ResumableAnswer): void {
    if (entry?.begun !== answer || answer.goesOnAlone || answer.state !== 'running') return;
    entry.cancelTimer();
    const { graceMs } = this.#settings;
    const { requestId, handle, tenant } = answer.kept;
    entry.cancelTimer = this.context.clock.after(graceMs, () => {
      if (answer.listeners > 0 || answer.state !== 'running') return;
      this.context.observe({ kind: 'requestAbandoned', requestId, graceMs });
      this.#drop(handleText(handle, tenant));
    });
  }

  #isOver(entry: Entry | undefined, answer: ResumableAnswer): void {
    if (entry?.begun !== answer || entry.isOver) return;
    entry.cancelTimer();
    entry.isOver = true;
    const { requestId } = entry;
    const { handle, tenant } = answer.kept;
    entry.cancelTimer = this.context.clock.after(deadlines.resumableKeptMs, () => {
      this.#drop(handleText(handle, tenant));
    });
    // What failed is not to be made again: whoever asks again asks for another try.
    if (answer.state === 'failed') this.#forget(requestId);
    else this.#settings.journal?.end(requestId, Date.now()).catch(this.#tell(requestId));
    this.#dropOldest();
  }

  #forget(requestId: string): void {
    this.#settings.journal?.forget(requestId).catch(this.#tell(requestId));
  }

  #tell(requestId: string | null): (thrown: unknown) => void {
    return (thrown) => {
      this.context.observe({ kind: 'journalFailed', requestId, error: toButterflyError(thrown) });
    };
  }

  /** @throws ButterflyError QUEUE_FULL */
  #makeRoom(): void {
    const most = limits.resumableAnswersMax;
    for (const handle of this.#earlier.keys()) {
      if (this.#entries.size + this.#earlier.size < most) break;
      this.#drop(handle);
    }
    this.#dropOldest(most - 1);
    if (this.#entries.size < most && this.#bytes < limits.resumableBytesMax) return;
    throw new ButterflyError(
      'QUEUE_FULL',
      `${this.#entries.size} answers that can be resumed are under way already; retry later, or ask without a way to resume.`,
    );
  }

  /** Of those that are over, until there are so many left, and few enough bytes. */
  #dropOldest(most: number = limits.resumableAnswersMax): void {
    for (const [handle, { isOver }] of this.#entries) {
      if (this.#entries.size <= most && this.#bytes < limits.resumableBytesMax) return;
      if (isOver) this.#drop(handle);
    }
  }

  get #bytes(): number {
    return [...this.#entries.values()].reduce((sum, { begun }) => sum + (begun?.log.bytes ?? 0), 0);
  }
}

/** The request as it was when it was begun. @param parsed its body, read anew @param nowMs since 1970 */
function askedAgain(kept: KeptAnswer, parsed: ParsedRequest, nowMs: number): ParsedRequest {
  const { tenant, priority, seed, deadlineMs, model } = kept;
  const { spec } = parsed;
  const timeoutMs = Math.max(1, deadlineMs - nowMs);
  const sampling = { ...spec.sampling, seed };
  return { ...parsed, model, spec: { ...spec, tenant, priority, timeoutMs, sampling } };
}
