/** Values of a label that others choose: each of them is a series for ever, so that those beyond a number are one. */
export class BoundedLabel {
  readonly #seen = new Set<string>();

  constructor(private readonly valuesMax: number) {}

  /** The value itself, or `other` where there are too many already. */
  of(value: string): string {
    if (this.#seen.has(value)) return value;
    if (this.#seen.size >= this.valuesMax) return 'other';
    this.#seen.add(value);
    return value;
  }
}
