/** Code units that are half of a code point. */
const halves = /[\ud800-\udfff]/;

/**
 * A string that remembers which of its parts a client wrote, so that a role marker that a message spells out is told from
 * one of the template. Every operation keeps the marks, or marks all of its result: never too little.
 */
export class Text {
  static readonly empty = new Text('', []);

  /** @param client Ranges of code units that a client wrote: start, end, start, end, … in order, none empty. */
  private constructor(
    readonly value: string,
    readonly client: readonly number[],
  ) {}

  /** What the template or the model wrote. */
  static own(value: string): Text {
    return value === '' ? Text.empty : new Text(value, []);
  }

  static client(value: string): Text {
    return value === '' ? Text.empty : new Text(value, [0, value.length]);
  }

  /** @param client as the constructor has it; of another text, in another thread */
  static marked(value: string, client: readonly number[]): Text {
    return value === '' ? Text.empty : new Text(value, client);
  }

  static concat(parts: readonly Text[]): Text {
    const client: number[] = [];
    let offset = 0;
    for (const part of parts) {
      for (let i = 0; i + 1 < part.client.length; i += 2) {
        const start = (part.client[i] ?? 0) + offset;
        const end = (part.client[i + 1] ?? 0) + offset;
        if (client.at(-1) === start) client[client.length - 1] = end;
        else client.push(start, end);
      }
      offset += part.value.length;
    }
    return new Text(parts.map((part) => part.value).join(''), client);
  }

  static join(parts: readonly Text[], separator: Text): Text {
    return Text.concat(parts.flatMap((part, index) => (index === 0 ? [part] : [separator, part])));
  }

  get hasClient(): boolean {
    return this.client.length > 0;
  }

  /** By code units, both within the text. */
  slice(start: number, end: number = this.value.length): Text {
    if (start >= end) return Text.empty;
    const client: number[] = [];
    for (let i = 0; i + 1 < this.client.length; i += 2) {
      const from = Math.max(this.client[i] ?? 0, start);
      const to = Math.min(this.client[i + 1] ?? 0, end);
      if (from < to) client.push(from - start, to - start);
    }
    return new Text(this.value.slice(start, end), client);
  }

  /** Another value made of this one: where marks cannot be followed, all of it counts as the client's. */
  derive(value: string): Text {
    if (value === this.value) return this;
    if (!this.hasClient) return Text.own(value);
    return value.length === this.value.length ? new Text(value, this.client) : Text.client(value);
  }

  /** As `derive`, for an operation that moves characters about. */
  scramble(value: string): Text {
    return this.hasClient ? Text.client(value) : Text.own(value);
  }

  /** Number of code points, as Python counts. */
  get length(): number {
    return halves.test(this.value) ? Array.from(this.value).length : this.value.length;
  }

  /** One text for each code point. */
  points(): Text[] {
    let at = 0;
    return Array.from(this.value, (point) => this.slice(at, (at += point.length)));
  }

  /** Offset in code units of a code point that may be the end. */
  unitOffset(point: number): number {
    if (!halves.test(this.value)) return Math.min(point, this.value.length);
    let units = 0;
    let left = point;
    for (const character of this.value) {
      if (left-- === 0) break;
      units += character.length;
    }
    return units;
  }

  /** The other way round. */
  pointOffset(unit: number): number {
    return this.slice(0, unit).length;
  }

  /** Whether any code unit from `start` to before `end` is a client's. */
  touchesClient(start: number, end: number): boolean {
    let low = 0;
    let high = this.client.length / 2;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.client[2 * middle + 1] ?? 0) <= start) low = middle + 1;
      else high = middle;
    }
    return (this.client[2 * low] ?? Infinity) < end;
  }
}
