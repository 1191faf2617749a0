import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeControl, toButterflyError, type Logger, type WorkerProfile } from '@butterfly/common';

/** What a worker measures; what it holds of the model is known only to its loader. */
export type MeasuredProfile = Pick<
  WorkerProfile,
  'layerCurve' | 'outputCurve' | 'attentionMicros' | 'diskBytesPerSecond'
>;

/** Raised whenever measuring changes its meaning, so that older files are measured anew. */
const version = 3;

/** Profiles on disk, each under a hash of everything that it depends on. */
export class ProfileCache {
  readonly #path: string;
  readonly #key: string;

  /** @param dependsOn is what makes a measurement another one; must survive JSON. */
  constructor(
    private readonly directory: string,
    dependsOn: Readonly<Record<string, unknown>>,
    private readonly log: Logger,
  ) {
    this.#key = JSON.stringify({ version, ...dependsOn });
    const hash = createHash('sha256').update(this.#key).digest('hex').slice(0, 32);
    this.#path = join(directory, `profile-${hash}.json`);
  }

  /** Null when nothing usable is there, as when the file is damaged or of another version. */
  async read(): Promise<MeasuredProfile | null> {
    const text = await readFile(this.#path, 'utf8').catch(() => null);
    if (text === null) return null;
    try {
      return this.#parse(text);
    } catch (error) {
      this.log.warn({ err: toButterflyError(error) }, `${this.#path} is damaged and is measured anew.`);
      return null;
    }
  }

  /** Writes all or nothing; a disk that does not take it costs only the time to measure again. */
  async write(profile: MeasuredProfile): Promise<void> {
    const temporary = `${this.#path}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      await mkdir(this.directory, { recursive: true });
      await writeFile(temporary, JSON.stringify({ key: this.#key, profile }), { flush: true });
      await rename(temporary, this.#path);
    } catch (error) {
      this.log.warn(
        { err: toButterflyError(error) },
        `The measurements could not be kept in ${this.directory}.`,
      );
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  #parse(text: string): MeasuredProfile | null {
    const stored = JSON.parse(text) as { readonly key?: unknown; readonly profile?: MeasuredProfile } | null;
    if (stored?.key !== this.#key || !stored.profile) return null;
    const { layerCurve, outputCurve, attentionMicros, diskBytesPerSecond } = stored.profile;
    const profile = { layerCurve, outputCurve, attentionMicros, diskBytesPerSecond };
    // The wire's own check, since it must pass it in any case.
    encodeControl({ kind: 'profile', ...profile, hasFiles: false, cachedBytes: 0 });
    return profile;
  }
}
