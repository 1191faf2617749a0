import { ButterflyError } from '@butterfly/common';
import type { EmbedEvent, Embedding, GenerateEvent, Generation } from './types.js';

function isLast({ kind }: GenerateEvent | EmbedEvent): boolean {
  return kind !== 'token' && kind !== 'promptToken';
}

/** The events of one request on their way to one reader. Bounded by the prompt and the output that the request may have. */
class EventStream<Event extends GenerateEvent | EmbedEvent> implements AsyncIterable<Event> {
  readonly #events: Event[] = [];
  #wake: (() => void) | null = null;
  #isOver = false;

  constructor(private readonly onCancel: () => void) {}

  push(event: Event): void {
    if (this.#isOver) return;
    this.#events.push(event);
    if (isLast(event)) this.#isOver = true;
    this.#wake?.();
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onCancel();
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    try {
      for (;;) {
        const event = this.#events.shift();
        if (event) {
          yield event;
          if (isLast(event)) return;
        } else if (this.#isOver) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = null;
        }
      }
    } finally {
      this.cancel();
    }
  }
}

export class GenerationStream extends EventStream<GenerateEvent> implements Generation {}

export class EmbeddingStream extends EventStream<EmbedEvent> implements Embedding {}

/**
 * The vector that an embedding comes to.
 * @throws ButterflyError as in its error event, or CANCELLED where it was given up
 */
export async function vectorOf(embedding: Embedding): Promise<Float32Array> {
  for await (const event of embedding) {
    if (event.kind === 'error') throw event.error;
    return event.vector;
  }
  throw new ButterflyError('CANCELLED', 'The embedding was cancelled before it was there.');
}
