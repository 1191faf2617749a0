/** A request that outlives the process that answers it, as a plain value: with what is kept of its answer, all that there is of it. */
export interface RequestRecord {
  /** Never that of another request, and a secret of whoever asked. */
  readonly id: string;
  /** By what whoever asked finds it again: the last one with a handle is the one that is meant. */
  readonly handle: string;
  /** The model's own id. */
  readonly model: string;
  /** In milliseconds since 1970, as the next. */
  readonly startedMs: number;
  /** By when it is over, whoever answers it. */
  readonly deadlineMs: number;
  /** The request as it came: JSON that its keeper reads again. */
  readonly asked: string;
}

/** A record as it is kept. */
export interface KeptRequest {
  readonly record: RequestRecord;
  /** When its answer was over, in milliseconds since 1970; null where it is not. */
  readonly endedMs: number | null;
}

/**
 * Where requests are kept, so that they go on when whoever answers them dies. What is kept of an answer are entries: bytes of
 * whoever writes them, in the order in which they were appended. Calls of one request take effect in their order; `describeJournal`
 * holds all that are one to the same.
 */
export interface Journal {
  /**
   * Keeps a request. Resolves when it is kept.
   * @throws ButterflyError QUEUE_FULL where there is no room for more, JOURNAL_FAILED, also for an id that is kept already
   */
  begin(record: RequestRecord): Promise<void>;
  /**
   * Keeps what came of a request since. Resolves when it is kept, after all that was appended before; may be called again
   * before that. Once some of a request could not be kept nothing more of it is, lest there be a gap: it can only be forgotten.
   * @throws ButterflyError JOURNAL_FAILED, also for a request that is not kept or is over, and where there is no room for more
   */
  append(id: string, entries: readonly Uint8Array[]): Promise<void>;
  /** Its answer is over, and stays for those who come late until it is forgotten. @throws ButterflyError JOURNAL_FAILED */
  end(id: string, endedMs: number): Promise<void>;
  /** Frees all that is kept of a request, if anything is. @throws ButterflyError JOURNAL_FAILED */
  forget(id: string): Promise<void>;
  /** All that are kept, in the order in which they began. @throws ButterflyError JOURNAL_FAILED */
  requests(): Promise<readonly KeptRequest[]>;
  /** All that was appended for a request; none for one that is not kept. @throws ButterflyError JOURNAL_FAILED */
  entries(id: string): Promise<readonly Uint8Array[]>;
  /** Keeps what is under way, and lets go of files and connections. */
  close(): Promise<void>;
}
