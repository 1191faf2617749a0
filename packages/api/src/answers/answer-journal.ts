import { ButterflyError, toButterflyError } from '@butterfly/common';
import { encodeTapeLine, type TapeLine } from '@butterfly/generation';
import type { Journal } from '@butterfly/journal';

export interface AnswerJournalOptions {
  readonly journal: Journal;
  /** Of the request. */
  readonly id: string;
  /** Whether what is told need not be kept before. */
  readonly isRelaxed: boolean;
  /** What comes from now on is not kept any more. Called once. */
  readonly onFailure: (error: ButterflyError) => void;
}

/**
 * What is kept of one answer, written in batches: while one is on its way, what comes gathers for the next. What is to be told waits
 * until that which it is made of is kept.
 */
export class AnswerJournal {
  #pending: Uint8Array[] = [];
  #recorded = 0;
  #kept = 0;
  #isWriting = false;
  #hasFailed = false;
  /** In order, each with how much must be kept before. */
  #waiting: { readonly behind: number; readonly action: () => void }[] = [];
  #whenIdle: (() => void)[] = [];

  constructor(private readonly options: AnswerJournalOptions) {}

  record(line: TapeLine): void {
    if (this.#hasFailed) return;
    this.#pending.push(encodeTapeLine(line));
    this.#recorded += 1;
    if (this.#isWriting) return;
    this.#isWriting = true;
    // What else one step brings goes along.
    setImmediate(() => void this.#write());
  }

  /** Acts once all that was recorded so far is kept; actions keep their order. */
  whenKept(action: () => void): void {
    const isKept = this.options.isRelaxed || this.#hasFailed || this.#kept === this.#recorded;
    if (isKept && this.#waiting.length === 0) action();
    else this.#waiting.push({ behind: this.#recorded, action });
  }

  /** Resolves when all that was recorded is kept, or nothing is any more. */
  async flushed(): Promise<void> {
    if (this.#isWriting) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  async #write(): Promise<void> {
    const { journal, id, onFailure } = this.options;
    try {
      while (this.#pending.length > 0) {
        const entries = this.#pending;
        this.#pending = [];
        await journal.append(id, entries);
        this.#kept += entries.length;
        this.#act();
      }
    } catch (thrown) {
      this.#hasFailed = true;
      this.#pending = [];
      onFailure(toButterflyError(thrown));
      this.#kept = this.#recorded;
      this.#act();
    }
    this.#isWriting = false;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #act(): void {
    const ready = this.#waiting.findIndex(({ behind }) => behind > this.#kept);
    const due = this.#waiting.splice(0, ready === -1 ? this.#waiting.length : ready);
    for (const { action } of due) action();
  }
}
