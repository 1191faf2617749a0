import { Worker } from 'node:worker_threads';
import { ButterflyError, type Clock, deadlines, systemClock } from '@butterfly/common';
import { Text } from '@butterfly/python';
import type { ChatMessage, ChatOptions } from '../chat-message.js';
import type { FromRenderingThread, RenderingOptions, ToRenderingThread } from './rendering-messages.js';

export type { RenderingOptions } from './rendering-messages.js';

const program = new URL('../../dist/rendering/rendering-thread-main.js', import.meta.url);
/** A conversation of the largest body with its rendering; a template that wants more is none of a model. */
const memoryMib = 512;

/** One rendering under way. */
interface Waiting {
  readonly resolve: (answer: FromRenderingThread) => void;
  readonly reject: (error: ButterflyError) => void;
}

/**
 * Renders conversations in a thread of its own, one after the other: a template comes with a file of strangers, and whatever it
 * does stops nothing else. A thread that takes too long, or too much memory, is ended, and the next conversation has another.
 */
export class RenderingThread {
  #worker: Worker | null = null;
  #waiting: Waiting | null = null;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly options: RenderingOptions,
    private readonly clock: Clock = systemClock,
  ) {}

  /**
   * As `ChatRenderer.chatText`; the time of each begins when those before it are done, as they take the thread's.
   * @throws ButterflyError the same, and MODEL_UNSUPPORTED for a template that takes over `deadlines.templateMs` or the memory
   */
  async chatText(messages: readonly ChatMessage[], options: ChatOptions): Promise<Text> {
    const rendering = this.#last.then(() => this.#render({ messages, options }));
    this.#last = rendering.catch(() => undefined);
    const answer = await rendering;
    if (answer.kind === 'rendered') return Text.marked(answer.value, answer.client);
    const { code, message, param } = answer;
    throw new ButterflyError(code, message, param === undefined ? {} : { param });
  }

  async close(): Promise<void> {
    this.#fail('it was closed');
    await this.#last;
  }

  async #render(asked: ToRenderingThread): Promise<FromRenderingThread> {
    const { templateMs } = deadlines;
    const cancel = this.clock.after(templateMs, () => this.#fail(`it took over ${templateMs} ms`));
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting = { resolve, reject };
        this.#open().postMessage(asked);
      });
    } finally {
      this.#waiting = null;
      cancel();
    }
  }

  #open(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(program, {
      workerData: this.options,
      resourceLimits: { maxOldGenerationSizeMb: memoryMib },
      execArgv: [],
    });
    worker.on('message', (answer: FromRenderingThread) => this.#waiting?.resolve(answer));
    const ended = (reason: string): void => {
      if (this.#worker === worker) this.#fail(reason);
    };
    worker.on('error', (error) => ended(error.message));
    worker.on('exit', () => ended('its thread ended'));
    // Who waits for a prompt keeps the process up by itself.
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  #fail(reason: string): void {
    const worker = this.#worker;
    this.#worker = null;
    void worker?.terminate();
    this.#waiting?.reject(
      new ButterflyError(
        'MODEL_UNSUPPORTED',
        `The chat template of the model was stopped at this conversation: ${reason}; start with --chat-template FILE to use another one.`,
      ),
    );
  }
}
