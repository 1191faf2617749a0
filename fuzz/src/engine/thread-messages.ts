/** What the thread that fuzzes is given. */
export interface ThreadOptions {
  readonly target: string;
  readonly seed: string;
  readonly inputsMax: number;
  /** What takes longer than this is a finding; Infinity where nothing is. */
  readonly slowMs: number;
  /** By the clock of the system; it ends after the batch that is under way then. */
  readonly endMs: number;
  /** Folders with a folder for each target, whose inputs it begins with. */
  readonly folders: readonly string[];
  /** The folder where it keeps inputs that reach new code; null for none. */
  readonly grown: string | null;
  /** Two numbers of 32 bits, how many inputs were begun and how long the last one is, and behind them that one. */
  readonly shared: SharedArrayBuffer;
}

/** How far it is. */
export interface Progress {
  readonly inputs: number;
  /** Inputs that were read without complaint. */
  readonly accepted: number;
  readonly slowestMs: number;
  /** Inputs that are kept. */
  readonly corpus: number;
  /** Characters of our scripts that ran. */
  readonly characters: number;
  /** Of those, how many ran with the inputs that it began with. */
  readonly seedCharacters: number;
}

export type ThreadMessage =
  | ({ readonly kind: 'progress' | 'done' } & Progress)
  | { readonly kind: 'finding'; readonly input: Uint8Array; readonly problem: string };
