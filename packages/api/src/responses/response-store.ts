import { ButterflyError } from '@butterfly/common';
import type { Item, OutputItem, ResponseObject, ResponseStatus } from './items.js';

export interface StoreBounds {
  readonly entriesMax: number;
  /** Memory of the texts. */
  readonly bytesMax: number;
  /** Of those that one conversation is made of. */
  readonly conversationBytesMax: number;
  /** Since somebody last asked for it. */
  readonly ageMsMax: number;
}

/** A response with the input that it answers, which is what was sent with it and not what it continues. */
export interface KeptResponse {
  readonly id: string;
  readonly status: ResponseStatus;
  readonly previousId: string | null;
  readonly input: readonly Item[];
  readonly response: ResponseObject;
}

/** As JSON texts, whose memory is known. */
interface Entry {
  readonly status: ResponseStatus;
  readonly previousId: string | null;
  readonly inputJson: string;
  /** Without the items of its output, which are apart so that each can be read alone. */
  readonly responseJson: string;
  /** By their ids. */
  readonly outputJsons: ReadonlyMap<string, string>;
  readonly bytes: number;
  usedMs: number;
}

const bytesPerCharacter = 2;

/**
 * The responses that are kept, within bounds: whoever was not asked for the longest goes first. To ask for one asks for all
 * that it continues too, so that a conversation loses its branches before its root.
 */
export class ResponseStore {
  /** In the order of their last use, the oldest first. */
  readonly #entries = new Map<string, Entry>();
  /** Which response made an item. */
  readonly #makers = new Map<string, string>();
  #bytes = 0;

  constructor(
    private readonly bounds: StoreBounds,
    private readonly nowMs: () => number,
  ) {}

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  put({ id, status, previousId, input, response }: KeptResponse): void {
    this.delete(id);
    const inputJson = JSON.stringify(input);
    const responseJson = JSON.stringify({ ...response, output: [] });
    const outputJsons = new Map(response.output.map((item) => [item.id, JSON.stringify(item)]));
    const characters = [inputJson, responseJson, ...outputJsons.values()].reduce(
      (sum, { length }) => sum + length,
      0,
    );
    const bytes = characters * bytesPerCharacter;
    this.#entries.set(id, {
      status,
      previousId,
      inputJson,
      responseJson,
      outputJsons,
      bytes,
      usedMs: this.nowMs(),
    });
    this.#bytes += bytes;
    for (const itemId of outputJsons.keys()) this.#makers.set(itemId, id);
    this.#use(id);
    this.#makeRoom();
  }

  /** The response as it went out, or null. */
  response(id: string): ResponseObject | null {
    const entry = this.#use(id);
    return entry === null
      ? null
      : { ...(JSON.parse(entry.responseJson) as ResponseObject), output: outputOf(entry) };
  }

  /** What was sent with the request, or null. */
  input(id: string): readonly Item[] | null {
    const entry = this.#use(id);
    return entry === null ? null : (JSON.parse(entry.inputJson) as readonly Item[]);
  }

  /** An item that an answer had, or null. */
  item(itemId: string): Item | null {
    const maker = this.#makers.get(itemId);
    const json = maker === undefined ? undefined : this.#use(maker)?.outputJsons.get(itemId);
    return json === undefined ? null : (JSON.parse(json) as Item);
  }

  /**
   * All that was said until the end of a response, the first first.
   * @throws ButterflyError NOT_FOUND when it, or one that it continues, is not kept; REQUEST_INVALID when it has no end;
   * REQUEST_TOO_LARGE for more than any context holds
   */
  conversation(id: string, param: string): readonly Item[] {
    const turns: (readonly Item[])[] = [];
    let bytes = 0;
    for (let at: string | null = id; at !== null;) {
      const entry = this.#use(at);
      if (entry === null) throw notKept(at, param, at === id ? null : id);
      if (entry.status !== 'completed' && entry.status !== 'incomplete')
        throw new ButterflyError(
          'REQUEST_INVALID',
          `${param}: response "${at}" is ${entry.status}; continue the one before it, or send the conversation as input.`,
          { param },
        );
      bytes += entry.bytes;
      if (bytes > this.bounds.conversationBytesMax)
        throw new ButterflyError(
          'REQUEST_TOO_LARGE',
          `${param}: the conversation has over ${this.bounds.conversationBytesMax} bytes; begin a new one with what still matters.`,
          { param },
        );
      turns.push([...(JSON.parse(entry.inputJson) as readonly Item[]), ...outputOf(entry)]);
      at = entry.previousId;
    }
    return turns.reverse().flat();
  }

  /** @returns whether it was kept */
  delete(id: string): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    this.#entries.delete(id);
    this.#bytes -= entry.bytes;
    for (const itemId of entry.outputJsons.keys())
      if (this.#makers.get(itemId) === id) this.#makers.delete(itemId);
    return true;
  }

  /** Makes it, and after it all that it continues, the last to go. */
  #use(id: string): Entry | null {
    this.#dropOld();
    const found = this.#entries.get(id) ?? null;
    const usedMs = this.nowMs();
    for (let at: string | null = id; at !== null;) {
      const entry = this.#entries.get(at);
      if (entry === undefined) break;
      this.#entries.delete(at);
      this.#entries.set(at, entry);
      entry.usedMs = usedMs;
      at = entry.previousId;
    }
    return found;
  }

  #dropOld(): void {
    const oldestMs = this.nowMs() - this.bounds.ageMsMax;
    for (const [id, { usedMs }] of this.#entries) {
      if (usedMs >= oldestMs) return;
      this.delete(id);
    }
  }

  #makeRoom(): void {
    this.#dropOld();
    for (const id of this.#entries.keys()) {
      if (this.#entries.size <= this.bounds.entriesMax && this.#bytes <= this.bounds.bytesMax) return;
      this.delete(id);
    }
  }
}

const outputOf = ({ outputJsons }: Entry) =>
  [...outputJsons.values()].map((json) => JSON.parse(json) as OutputItem);

/** @param continuedBy the response that was asked for, where it is another */
export function notKept(id: string, param: string, continuedBy: string | null = null): ButterflyError {
  const which = continuedBy === null ? `"${id}"` : `"${id}", which "${continuedBy}" continues,`;
  return new ButterflyError(
    'NOT_FOUND',
    `${param}: response ${which} is not kept here: it never was, was deleted, or made room for later ones. Send the conversation as input.`,
    { param },
  );
}
