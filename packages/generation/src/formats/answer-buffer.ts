/** A text that has a meaning in an answer; a token of its own where the vocabulary has one, and text never counts then. */
export interface Marker {
  readonly text: string;
  readonly isToken: boolean;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** What of an answer is not decided yet: text, and which of it came as marker tokens. Offsets are code units. */
export class AnswerBuffer {
  #text = '';
  #marks: Range[] = [];

  get text(): string {
    return this.#text;
  }

  append(text: string): void {
    this.#text += text;
  }

  appendMark(text: string): void {
    this.#marks.push({ start: this.#text.length, end: this.#text.length + text.length });
    this.#text += text;
  }

  /** Takes text off the front. */
  take(length: number): string {
    const taken = this.#text.slice(0, length);
    this.#text = this.#text.slice(length);
    this.#marks = this.#marks
      .map(({ start, end }) => ({ start: start - length, end: end - length }))
      .filter(({ start }) => start >= 0);
    return taken;
  }

  /** Whether a marker stands there. */
  hasAt(marker: Marker, at: number): boolean {
    if (!this.#text.startsWith(marker.text, at)) return false;
    return (
      !marker.isToken || this.#marks.some(({ start, end }) => start === at && end === at + marker.text.length)
    );
  }

  /** The first of these markers from there on; of two at one place, the longer. */
  find(markers: readonly Marker[], from = 0): { readonly at: number; readonly marker: Marker } | null {
    let first: { readonly at: number; readonly marker: Marker } | null = null;
    for (const marker of markers) {
      const at = this.#indexOf(marker, from);
      if (at < 0) continue;
      const isFirst =
        first === null || at < first.at || (at === first.at && marker.text.length > first.marker.text.length);
      if (isFirst) first = { at, marker };
    }
    return first;
  }

  /** Where the tail begins that may become one of these markers; the end where none may. */
  undecidedFrom(markers: readonly Marker[], from = 0): number {
    let longest = 0;
    for (const { text, isToken } of markers) {
      if (isToken) continue;
      for (let length = Math.min(text.length - 1, this.#text.length - from); length > longest; length--)
        if (this.#text.endsWith(text.slice(0, length))) longest = length;
    }
    return this.#text.length - longest;
  }

  /** Where the next marker token begins, from there on; the end where none does. */
  nextMark(from: number): number {
    return this.#marks.find(({ start }) => start >= from)?.start ?? this.#text.length;
  }

  #indexOf(marker: Marker, from: number): number {
    if (marker.text === '') return -1;
    let at = this.#text.indexOf(marker.text, from);
    while (at >= 0 && !this.hasAt(marker, at)) at = this.#text.indexOf(marker.text, at + 1);
    return at;
  }
}
