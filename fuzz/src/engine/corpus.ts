import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Below } from './mutate.js';

/** Inputs that a corpus holds at most: what reaches new code ends long before. */
const entriesMax = 20_000;

/** Inputs that each reach something of their own, in folders of one file each. */
export class Corpus {
  readonly #inputs: Uint8Array[] = [];
  readonly #names = new Set<string>();

  /** @param grown the folder for new ones; null for none */
  constructor(private readonly grown: string | null) {
    if (grown !== null) mkdirSync(grown, { recursive: true });
  }

  get size(): number {
    return this.#inputs.length;
  }

  add(input: Uint8Array): void {
    const name = nameOf(input);
    if (this.#names.has(name) || this.#inputs.length >= entriesMax) return;
    this.#names.add(name);
    this.#inputs.push(new Uint8Array(input));
    if (this.grown !== null) writeFileSync(join(this.grown, name), input);
  }

  /** One of them, the last ones more often. */
  pick(below: Below): Uint8Array {
    const recent = Math.min(this.#inputs.length, 32);
    const at = below(4) === 0 ? this.#inputs.length - 1 - below(recent) : below(this.#inputs.length);
    return this.#inputs[at] ?? new Uint8Array(0);
  }
}

/** The inputs in a folder, in the order of their names; none where there is no folder. */
export function inputsIn(folder: string): Uint8Array[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names.sort().map((name) => new Uint8Array(readFileSync(join(folder, name))));
}

/** The name of a file for an input. */
export function nameOf(input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}
