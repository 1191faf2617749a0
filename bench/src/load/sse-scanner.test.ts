import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SseScanner } from './sse-scanner.js';

const piece = (text: string): string =>
  `data: {"id":"cmpl-1","choices":[{"index":0,"text":${JSON.stringify(text)},"logprobs":null,"finish_reason":null}],"usage":null}\n\n`;
/** What a server says that has nothing to say. */
const silence = ': keep-alive\n\n';
const ending =
  'data: {"id":"cmpl-1","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}],"usage":null}\n\n' +
  'data: {"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n' +
  'data: [DONE]\n\n';

function split(text: string, cuts: readonly number[]): string[] {
  const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
  return places.slice(1).map((place, index) => text.slice(places[index], place));
}

describe('the scanner of streams', () => {
  it('counts pieces and reads the usage, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), fc.array(fc.nat()), (texts, cuts) => {
        let read = '';
        const scanner = new SseScanner((text) => (read += text));
        let pieces = 0;
        for (const chunk of split(silence + texts.map(piece).join(silence) + ending, cuts))
          pieces += scanner.push(chunk);
        expect(pieces).toBe(texts.length);
        expect(read).toBe(texts.join(''));
        expect(scanner.progress).toEqual({
          pieces: texts.length,
          outputTokens: 7,
          promptTokens: 5,
          isDone: true,
        });
      }),
    );
  });

  it('is not taken in by texts that look like fields', () => {
    const scanner = new SseScanner(null);
    expect(scanner.push(piece('"finish_reason":"stop"') + piece('data: [DONE]') + piece('"usage":{"'))).toBe(
      3,
    );
    expect(scanner.progress.isDone).toBe(false);
  });

  it('tells of an error in the midst of the stream and of what is no event', () => {
    const failure = 'data: {"error":{"message":"The server was stopped.","code":"CANCELLED"}}\n\n';
    expect(() => new SseScanner(null).push(failure)).toThrow('The server was stopped');
    expect(() => new SseScanner(null).push('hello\n\n')).toThrow('no event');
  });

  it('has nothing to say before the first event is whole', () => {
    const scanner = new SseScanner(null);
    expect(scanner.push(piece('a').slice(0, -1))).toBe(0);
    expect(scanner.progress).toEqual({ pieces: 0, outputTokens: null, promptTokens: null, isDone: false });
  });
});
