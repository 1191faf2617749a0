import { limits } from '@butterfly/common';
import { Missing, type Value, failure } from '@butterfly/python';

/** Variables of a block, and behind them those of the blocks around it. */
export class Scope {
  readonly #variables = new Map<string, Value>();

  constructor(private readonly outer: Scope | null) {}

  get(name: string): Value {
    const value = this.#variables.get(name);
    if (value !== undefined) return value;
    return this.outer ? this.outer.get(name) : new Missing(`'${name}' is undefined`);
  }

  set(name: string, value: Value): void {
    this.#variables.set(name, value);
  }
}

/** Bytes of a reference, which every item of a list is at least. */
const itemBytes = 8;

/** What one rendering may take: a template comes with a file, and must not hold up the process. */
export class Budget {
  #steps = 0;
  #characters = 0;
  /** Macros that are under way. */
  #calls = 0;

  step(): void {
    if (++this.#steps > limits.templateStepsMax)
      throw failure(`the template takes more than ${limits.templateStepsMax} steps`);
  }

  /** A call of a macro, which may call others. */
  nested<T>(run: () => T): T {
    if (this.#calls >= limits.templateCallsMax) throw failure('the template nests too deeply');
    this.#calls += 1;
    try {
      return run();
    } finally {
      this.#calls -= 1;
    }
  }

  write(characters: number): void {
    this.#characters += characters;
    if (this.#characters > limits.templateCharactersMax)
      throw failure(`the template writes more than ${limits.templateCharactersMax} characters`);
  }

  /** A list that was made: a line of a template can double one, and a loop of forty do so beyond any memory. */
  hold(items: number): void {
    this.write(items * itemBytes);
  }
}
