import { type ButterflyEvent, limits, lineOf } from '@butterfly/common';
import type { EventView } from '../view/live-view.js';

/** The last events that a person would want to read of, in the words of the log. */
export class EventRing {
  readonly #events: EventView[] = [];
  #index = 0;

  take(event: ButterflyEvent, nowMs: number): void {
    const line = lineOf(event.kind, event);
    if (!line) return;
    const [level, words, fields] = line;
    if (level === 'debug') return;
    this.#index += 1;
    const { kind, modelId = null } = event;
    this.#events.push({
      ...{ index: this.#index, atMs: nowMs, level, kind, words, modelId },
      fields: plain(fields),
    });
    if (this.#events.length > limits.eventsRememberedMax) this.#events.shift();
  }

  /** Those after an index, the newest last. */
  after(index: number): EventView[] {
    return this.#events.filter((event) => event.index > index);
  }
}

/** What can be written as JSON, and is not told beside it. */
function plain(fields: object): Record<string, unknown> {
  const isPlain = ([name]: [string, unknown]): boolean => name !== 'modelId' && name !== 'err';
  return Object.fromEntries(Object.entries(fields).filter(isPlain));
}
