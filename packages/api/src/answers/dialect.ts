import type { ButterflyError } from '@butterfly/common';
import type { GenerationSpec, OutputEvent, WholeAnswer } from '@butterfly/generation';
import type { StreamForm } from '../http/open-stream.js';

/** What every object of one response repeats. */
export interface ResponseHead {
  readonly id: string;
  /** Seconds since 1970. */
  readonly createdS: number;
  readonly model: string;
  /** Of the HTTP request. */
  readonly requestId: string;
  readonly promptTokens: number;
}

/** Turns the events of one answer into the bytes of one stream; it remembers where it is. */
export interface StreamEncoder {
  /** What a stream says that opens before its first event; all that begins it, if it has such. */
  opening?(): string;
  /** What goes out for an event; empty for nothing. */
  encode(event: OutputEvent): string;
  /** The last words of a stream that fails. @param error as it may leave the house */
  failure(error: ButterflyError): string;
}

/** How one request wants its answer written. */
export interface AnswerEncoding {
  readonly form: StreamForm;
  newId(): string;
  /** Hears that the answer is under way. @returns what to call when it is not any more */
  begun?(head: ResponseHead, cancel: () => void): () => void;
  /** The answer in one object. */
  whole(head: ResponseHead, answer: WholeAnswer): object;
  stream(head: ResponseHead): StreamEncoder;
}

/** A request of any dialect, read. */
export interface ParsedRequest {
  /** Null where the request leaves the choice to the server. */
  readonly model: string | null;
  /** How long the model stays loaded after this; undefined leaves that to the server. */
  readonly keepMs?: number;
  readonly spec: GenerationSpec;
  readonly stream: boolean;
  /** Names of the fields that were let through and change nothing, for the header of the response. */
  readonly withoutEffect: readonly string[];
  readonly encoding: AnswerEncoding;
}
