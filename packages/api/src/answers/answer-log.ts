/** From where somebody wants to hear an answer: how much of it is known already. */
export type HeardOf =
  | { readonly kind: 'events'; readonly events: number }
  /** Of its stream, as they went out. */
  | { readonly kind: 'bytes'; readonly bytes: number };

/** All of it. */
export const fromStart: HeardOf = Object.freeze({ kind: 'events', events: 0 });

/**
 * What a stream says, kept so that any number of clients can hear it, from anywhere. It only grows, until it is over, or cut:
 * then it goes on elsewhere.
 */
export class AnswerLog {
  readonly #parts: string[] = [];
  #bytes = 0;
  #end: 'over' | 'cut' | null = null;
  readonly #listeners = new Set<() => void>();

  /** Of all parts. */
  get bytes(): number {
    return this.#bytes;
  }

  get parts(): number {
    return this.#parts.length;
  }

  /** How it ended; null while it grows. */
  get end(): 'over' | 'cut' | null {
    return this.#end;
  }

  append(part: string): void {
    this.#parts.push(part);
    this.#bytes += Buffer.byteLength(part);
    this.#change();
  }

  close(end: 'over' | 'cut'): void {
    this.#end ??= end;
    this.#change();
  }

  part(index: number): string | undefined {
    return this.#parts[index];
  }

  /** Calls back when there is more, or no more will come. @returns what ends that */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #change(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Gives the parts of a log in order, less what is known already. */
export class LogReader {
  #at = 0;
  #skip: number;

  constructor(
    private readonly log: AnswerLog,
    private readonly heard: HeardOf,
  ) {
    this.#skip = heard.kind === 'events' ? heard.events : heard.bytes;
  }

  /** The next part, or what is left of it; null where there is none yet. */
  next(): string | Uint8Array | null {
    for (;;) {
      const part = this.log.part(this.#at);
      if (part === undefined) return null;
      this.#at += 1;
      if (this.#skip === 0) return part;
      if (this.heard.kind === 'events') {
        this.#skip -= 1;
        continue;
      }
      const bytes = Buffer.from(part);
      const skipped = Math.min(this.#skip, bytes.length);
      this.#skip -= skipped;
      // It may have been cut within a character.
      if (skipped < bytes.length) return bytes.subarray(skipped);
    }
  }
}
