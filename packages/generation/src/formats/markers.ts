import type { AnswerBuffer, Marker } from './answer-buffer.js';

/** Whether a text stands at a place: not decided where the text that is there may still become it. */
export type Standing = 'yes' | 'no' | 'wait';

/** The markers of one vocabulary: single tokens where it has them so. */
export class Markers {
  constructor(private readonly tokenTexts: ReadonlySet<string>) {}

  of(text: string): Marker {
    return { text, isToken: this.tokenTexts.has(text) };
  }

  /** Those that are not empty. */
  all(texts: readonly (string | null | undefined)[]): Marker[] {
    return texts.flatMap((text) => (text == null || text === '' ? [] : [this.of(text)]));
  }

  standing(buffer: AnswerBuffer, text: string, at: number): Standing {
    const marker = this.of(text);
    if (buffer.hasAt(marker, at)) return 'yes';
    const rest = buffer.text.slice(at);
    return (marker.isToken ? rest === '' : text.startsWith(rest)) ? 'wait' : 'no';
  }
}

/** Where white space that begins there ends. */
export function afterSpace(text: string, at: number): number {
  const space = /\s*/y;
  space.lastIndex = at;
  space.test(text);
  return space.lastIndex;
}
