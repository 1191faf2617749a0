import { ButterflyError } from '@butterfly/common';
import type { Metadata, MetadataValue } from './header.js';

/** Reads typed values of one architecture out of the metadata, and says which key is at fault. */
export class MetadataReader {
  constructor(
    private readonly metadata: Metadata,
    private readonly prefix: string,
    private readonly path: string,
  ) {}

  /** The value of `ARCHITECTURE.key`. */
  own(key: string): MetadataValue | undefined {
    return this.metadata.get(`${this.prefix}.${key}`);
  }

  number(key: string): number | undefined {
    const value = this.own(key);
    if (value === undefined || (typeof value === 'number' && Number.isFinite(value))) return value;
    throw this.corrupt(key, 'is no number');
  }

  /** A positive integer of 32 bits. */
  count(key: string): number | undefined {
    const value = this.number(key);
    if (value === undefined || (Number.isInteger(value) && value > 0 && value < 2 ** 31)) return value;
    throw this.corrupt(key, `is ${value}`);
  }

  requiredCount(key: string): number {
    const value = this.count(key);
    if (value === undefined) throw this.corrupt(key, 'is missing');
    return value;
  }

  /** A count that some converters write once and others once for each layer. */
  countOfAllLayers(key: string, layers: number): number | undefined {
    const value = this.own(key);
    if (typeof value !== 'object') return this.count(key);
    const [first] = value.values ?? [];
    if (typeof first !== 'number' || !Number.isInteger(first) || first <= 0 || value.length < layers)
      throw this.corrupt(key, 'is no list of a count for each layer');
    if (value.values?.some((other) => other !== first))
      throw this.unsupported(`its layers differ in ${this.prefix}.${key}`);
    return first;
  }

  /** Undefined for a blank one too, as `rope.scaling.type` of a model without scaling. */
  text(key: string): string | undefined {
    const value = this.own(key);
    if (typeof value === 'string') return value.trim() === '' ? undefined : value;
    if (value === undefined) return value;
    throw this.corrupt(key, 'is no text');
  }

  corrupt(key: string, problem: string): ButterflyError {
    return new ButterflyError(
      'MODEL_CORRUPT',
      `${this.path}: metadata key ${this.prefix}.${key} ${problem}. Download or convert the model again.`,
    );
  }

  unsupported(problem: string): ButterflyError {
    return new ButterflyError(
      'MODEL_UNSUPPORTED',
      `${this.path} cannot be run: ${problem}, which Butterfly does not support yet. Use another model.`,
    );
  }
}
