import { type Clock, deadlines, limits, secretsEqual } from '@butterfly/common';
import { type ApiKey, parseApiKey } from './api-key.js';
import { digestOf, type KeyFiles, type KeyRecord } from './key-files.js';

/** What became of a text that was shown as a key. */
export type Recognised =
  { readonly kind: 'known'; readonly key: KeyRecord } | { readonly kind: 'unknown' | 'expired' };

interface Looked {
  readonly record: KeyRecord;
  readonly atMs: number;
}

/** The keys as a server that listens knows them: each is looked up when it is shown, and again after a second. */
export class KeyRing {
  /** Only those that there are, so that guesses take no memory. */
  readonly #looked = new Map<string, Looked>();

  constructor(
    private readonly files: Pick<KeyFiles, 'read'>,
    private readonly clock: Clock,
  ) {}

  /** @throws ButterflyError CONFIG_INVALID for a file that is damaged; Error of the system */
  async recognise(text: string): Promise<Recognised> {
    const key = parseApiKey(text);
    if (!key) return { kind: 'unknown' };
    const record = await this.#look(key);
    // An unknown one takes as long as a wrong one.
    const isRight = secretsEqual(record?.digest ?? '', digestOf(key));
    if (!record || !isRight) return { kind: 'unknown' };
    const isOver = record.expiresAtMs !== null && record.expiresAtMs <= Date.now();
    return isOver ? { kind: 'expired' } : { kind: 'known', key: record };
  }

  async #look({ id }: ApiKey): Promise<KeyRecord | null> {
    const nowMs = this.clock.nowMs();
    const looked = this.#looked.get(id);
    if (looked && nowMs - looked.atMs < deadlines.filesLookedAtEveryMs) return looked.record;
    const record = await this.files.read(id);
    this.#looked.delete(id);
    if (record) this.#looked.set(id, { record, atMs: nowMs });
    const [oldest] = this.#looked.keys();
    if (this.#looked.size > limits.apiKeysMax && oldest !== undefined) this.#looked.delete(oldest);
    return record;
  }
}
