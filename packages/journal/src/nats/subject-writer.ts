import { entriesPayload, piecesOf, type Said } from './messages.js';
import type { StreamStore } from './stream-store.js';

interface Waiting {
  readonly what: { readonly first: number; readonly frames: readonly Uint8Array[] } | Said | null;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Entries that go into one message at most, unless a single append has more. */
const gatheredMax = 1024;

/**
 * Publishes what is said on one subject, one message at a time: each names the sequence of the one before, so that nobody else
 * can write between. While one is under way, appends that come gather into the next.
 */
export class SubjectWriter {
  #waiting: Waiting[] = [];
  #isRunning = false;
  #failure: unknown = null;

  /** @param last sequence of the last message that is there, 0 for none @param after what must be over before the first */
  constructor(
    private readonly store: StreamStore,
    private readonly subject: string,
    private readonly messageBytesMax: number,
    private last = 0,
    private readonly after: Promise<unknown> = Promise.resolve(),
  ) {}

  /** Resolves when it is there, and all before it; null waits for those alone. @throws ButterflyError JOURNAL_FAILED */
  write(what: Waiting['what']): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ what, resolve, reject });
      if (this.#isRunning) return;
      this.#isRunning = true;
      void this.#run();
    });
  }

  /** Nothing more is written. */
  fail(error: unknown): void {
    this.#failure = error;
  }

  async #run(): Promise<void> {
    await this.after.catch(() => undefined);
    for (let group = this.#next(); group.length > 0; group = this.#next())
      try {
        // What follows a failure would stand in the wrong place.
        if (this.#failure !== null) throw this.#failure as Error;
        const said = saidBy(group);
        if (said) await this.#say(said);
        for (const { resolve } of group) resolve();
      } catch (error) {
        this.#failure = error;
        for (const { reject } of group) reject(error);
      }
    this.#isRunning = false;
  }

  async #say(said: Said): Promise<void> {
    for (const piece of piecesOf(said, this.messageBytesMax))
      this.last = await this.store.publish(this.subject, piece, this.last);
  }

  /** The next that waits; where that are entries, with those behind it. */
  #next(): readonly Waiting[] {
    const isEntries = ({ what }: Waiting) => what !== null && 'frames' in what;
    let count = 1;
    while (
      count < this.#waiting.length &&
      count < gatheredMax &&
      this.#waiting.slice(count - 1, count + 1).every(isEntries)
    )
      count++;
    return this.#waiting.splice(0, count);
  }
}

function saidBy(group: readonly Waiting[]): Said | null {
  const head = group[0]?.what ?? null;
  if (head === null || !('frames' in head)) return head;
  const frames = group.flatMap(({ what }) => (what !== null && 'frames' in what ? what.frames : []));
  return { kind: 'entries', payload: entriesPayload(head.first, frames) };
}
