import { failure } from './errors.js';
import { print } from './print.js';
import { Text } from './text.js';
import { indexOf, isTrue, numberOf, type CallArguments, type Value } from './values.js';

export const noCallArguments: CallArguments = { positional: [], named: new Map() };

/** What a function is given, by the names of its parameters. */
export class Given {
  readonly #values = new Map<string, Value>();

  /** @throws TemplateFailure for an argument too many or of another name, as Python's TypeError */
  constructor(callee: string, { positional, named }: CallArguments, parameters: readonly string[]) {
    if (positional.length > parameters.length)
      throw failure(`TypeError: ${callee}() takes ${parameters.length} arguments, got ${positional.length}`);
    for (const [index, value] of positional.entries()) this.#values.set(parameters[index] ?? '', value);
    for (const [name, value] of named) {
      if (!parameters.includes(name))
        throw failure(`TypeError: ${callee}() got an unexpected keyword argument '${name}'`);
      if (this.#values.has(name))
        throw failure(`TypeError: ${callee}() got multiple values for argument '${name}'`);
      this.#values.set(name, value);
    }
  }

  get(name: string): Value | undefined {
    return this.#values.get(name);
  }

  or(name: string, fallback: Value): Value {
    const value = this.#values.get(name);
    return value === undefined ? fallback : value;
  }

  value(name: string): Value {
    const value = this.#values.get(name);
    if (value === undefined) throw failure(`TypeError: missing argument '${name}'`);
    return value;
  }

  text(name: string, fallback?: string): Text {
    const value = this.#values.get(name);
    if (value === undefined && fallback !== undefined) return Text.own(fallback);
    return print(this.value(name));
  }

  /** A string and nothing else. */
  string(name: string): Text {
    const value = this.value(name);
    if (value instanceof Text) return value;
    throw failure(`TypeError: argument '${name}' must be str`);
  }

  /** Null where it is absent or None. */
  optionalString(name: string): Text | null {
    return (this.#values.get(name) ?? null) === null ? null : this.string(name);
  }

  flag(name: string, fallback = false): boolean {
    const value = this.#values.get(name);
    return value === undefined ? fallback : isTrue(value);
  }

  whole(name: string, fallback: number): number {
    const value = this.#values.get(name);
    return value === undefined ? fallback : indexOf(value);
  }

  number(name: string): bigint | number {
    const number = numberOf(this.value(name));
    if (number === null) throw failure(`TypeError: argument '${name}' must be a number`);
    return number;
  }
}
