import type { AnswerOutput } from './answer-output.js';
import { BufferedParser } from './buffered-parser.js';
import type { CallableTools } from './parser.js';
import { type Markers, afterSpace } from './markers.js';

const [start, channel, message] = ['<|start|>', '<|channel|>', '<|message|>'];
/** What ends the body of a message; the last two begin another one. */
const bodyEnds = ['<|end|>', '<|call|>', '<|return|>', start, channel];
const headerBegins = [start, channel, 'to='];

/** The tokens of Harmony that structure an answer. */
export const channelMarkers: readonly string[] = [...bodyEnds, message, '<|constrain|>'];

type Lane = 'text' | 'reasoning' | 'call';

/** Of Harmony: a row of messages, each with a header that says to whom and on which channel. */
export class ChannelParser extends BufferedParser {
  /** Of the message whose body is coming; null in and before headers. */
  #lane: Lane | null;

  /** @param isInText whether the prompt ends within a message to the user */
  constructor(
    private readonly markers: Markers,
    private readonly tools: CallableTools,
    private readonly output: AnswerOutput,
    isInText: boolean,
  ) {
    super();
    this.#lane = isInText ? 'text' : null;
  }

  protected override step(): boolean {
    return this.#lane === null ? this.#header() : this.#body(this.#lane);
  }

  #header(): boolean {
    const buffer = this.buffer;
    const at = afterSpace(buffer.text, 0);
    const begins = headerBegins.map((text) => this.markers.standing(buffer, text, at));
    const isHeader = begins.includes('yes');
    const body = isHeader ? buffer.find([this.markers.of(message)]) : null;
    if (body === null && !this.isEnded && (isHeader || begins.includes('wait'))) return false;
    if (buffer.text === '') return false;
    if (body === null) {
      this.#lane = 'text';
      // A header that never ended is no marker either.
      if (isHeader) this.output.text(buffer.take(buffer.text.length));
      return true;
    }
    const header = buffer.take(body.at + message.length);
    this.#open(header);
    return true;
  }

  #open(header: string): void {
    const [, recipient] = /to=functions\.([^\s<]+)/.exec(header) ?? [];
    const isAnalysis = /<\|channel\|>\s*analysis/.test(header);
    this.output.divide();
    if (recipient !== undefined && this.tools.size > 0) {
      this.#lane = 'call';
      this.output.startCall(recipient, null);
    } else this.#lane = isAnalysis ? 'reasoning' : 'text';
  }

  #body(lane: Lane): boolean {
    const buffer = this.buffer;
    const ends = this.markers.all(bodyEnds);
    const found = buffer.find(ends);
    const rest = this.isEnded ? buffer.text.length : buffer.undecidedFrom(ends);
    this.#say(lane, buffer.take(found?.at ?? rest));
    if (found === null) return false;
    if (lane === 'call') this.callDone();
    if (found.marker.text !== start && found.marker.text !== channel) buffer.take(found.marker.text.length);
    this.output.divide();
    this.#lane = null;
    return true;
  }

  #say(lane: Lane, text: string): void {
    switch (lane) {
      case 'text':
        this.output.text(text);
        return;
      case 'reasoning':
        this.output.reasoning(text);
        return;
      case 'call':
        this.output.callArguments(text);
        return;
      default:
        lane satisfies never;
    }
  }
}
