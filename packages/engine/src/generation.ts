import type { GenerateEvent, Generation } from './types.js';

function isLast({ kind }: GenerateEvent): boolean {
  return kind === 'end' || kind === 'error';
}

/** The events of one request on their way to one reader. Bounded by the prompt and the output that the request may have. */
export class GenerationStream implements Generation {
  readonly #events: GenerateEvent[] = [];
  #wake: (() => void) | null = null;
  #isOver = false;

  constructor(private readonly onCancel: () => void) {}

  push(event: GenerateEvent): void {
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

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent, void> {
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
