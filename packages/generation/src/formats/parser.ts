/** JSON schema of the arguments of a tool. */
export type ArgumentsSchema = Readonly<Record<string, unknown>> | null;

/** Tools that an answer may call, by name, with the schemas of their arguments. */
export type CallableTools = ReadonlyMap<string, ArgumentsSchema>;

/** Turns what a model writes into parts of an answer, as it comes; how it was cut into tokens changes nothing. */
export interface Parser {
  text(text: string): void;
  /** A marker that came as one token. */
  mark(text: string): void;
  /** Nothing comes any more. What is not decided is text. */
  end(): void;
  /** Calls whose arguments are over. */
  readonly callsDone: number;
}
