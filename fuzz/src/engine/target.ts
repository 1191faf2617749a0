import type { Below } from './mutate.js';

/** Something that reads what others wrote. */
export interface FuzzTarget {
  readonly name: string;
  /** Longer inputs are cut. */
  readonly inputBytesMax: number;
  /** Pieces that inputs of this kind are made of, which chance would take long to find. */
  readonly words: readonly (string | Uint8Array)[];
  /** Whether inputs are JSON, which is also changed value by value. */
  readonly isJson?: boolean;
  /** Makes right again what would hide all else, such as checksums; done to most inputs. */
  readonly repair?: (input: Uint8Array, below: Below) => Uint8Array;
  /** Reads it. May throw a ButterflyError, except INTERNAL; whatever else it throws is a finding. */
  readonly run: (input: Uint8Array) => void | Promise<void>;
}
