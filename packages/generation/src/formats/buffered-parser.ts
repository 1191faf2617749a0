import { AnswerBuffer } from './answer-buffer.js';
import type { Parser } from './parser.js';

/** A parser that looks at what has come and is not decided yet, as long as there is something to do with it. */
export abstract class BufferedParser implements Parser {
  protected readonly buffer = new AnswerBuffer();
  protected isEnded = false;
  #callsDone = 0;

  get callsDone(): number {
    return this.#callsDone;
  }

  text(text: string): void {
    this.buffer.append(text);
    this.#run();
  }

  mark(text: string): void {
    this.buffer.appendMark(text);
    this.#run();
  }

  end(): void {
    this.isEnded = true;
    this.#run();
  }

  /** Whether something changed, so that there may be more to do. */
  protected abstract step(): boolean;

  protected callDone(): void {
    this.#callsDone++;
  }

  #run(): void {
    while (this.step());
  }
}
