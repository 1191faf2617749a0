import { createHash, randomBytes } from 'node:crypto';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type WorkerObserver, makeDirectory, toButterflyError } from '@butterfly/common';
import { type WorkerProfile, encodeControl } from '@butterfly/wire';

/** What a worker measures; what it holds of the model is known only to its loader. */
export type MeasuredProfile = Pick<
  WorkerProfile,
  'layerCurve' | 'kindCurves' | 'hostExperts' | 'outputCurve' | 'attentionMicros' | 'diskBytesPerSecond'
>;

/** What was measured while something else computed serves for a while, and is then measured anew. */
const unsteadyForMs = 10 * 60_000;
/** Raised whenever measuring changes its meaning, so that older files are measured anew. */
const version = 6;

/** What a file holds that nobody else wrote. */
interface StoredProfile {
  readonly key?: unknown;
  readonly isSteady?: unknown;
  readonly profile?: MeasuredProfile;
}

/** Profiles on disk, each under a hash of everything that it depends on. */
export class ProfileCache {
  readonly #path: string;
  readonly #key: string;

  /** @param dependsOn is what makes a measurement another one; must survive JSON. */
  constructor(
    private readonly directory: string,
    dependsOn: Readonly<Record<string, unknown>>,
    private readonly observe: WorkerObserver,
  ) {
    this.#key = JSON.stringify({ version, ...dependsOn });
    const hash = createHash('sha256').update(this.#key).digest('hex').slice(0, 32);
    this.#path = join(directory, `profile-${hash}.json`);
  }

  /** Null when nothing usable is there, as when the file is damaged, of another version, or was doubtful from the start. */
  async read(): Promise<MeasuredProfile | null> {
    const text = await readFile(this.#path, 'utf8').catch(() => null);
    const found = await stat(this.#path).catch(() => null);
    if (text === null || found === null) return null;
    try {
      return this.#parse(text, Date.now() - found.mtimeMs);
    } catch (thrown) {
      this.observe({ kind: 'measurementsDamaged', path: this.#path, error: toButterflyError(thrown) });
      return null;
    }
  }

  /** Writes all or nothing; a disk that does not take it costs only the time to measure again. */
  async write(profile: MeasuredProfile, isSteady: boolean): Promise<void> {
    const temporary = `${this.#path}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      await makeDirectory(this.directory);
      await writeFile(temporary, JSON.stringify({ key: this.#key, isSteady, profile }), { flush: true });
      await rename(temporary, this.#path);
    } catch (thrown) {
      const { directory } = this;
      this.observe({ kind: 'measurementsNotKept', directory, error: toButterflyError(thrown) });
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  #parse(text: string, ageMs: number): MeasuredProfile | null {
    const stored = JSON.parse(text) as StoredProfile | null;
    if (stored?.key !== this.#key || !stored.profile) return null;
    if (stored.isSteady !== true && ageMs > unsteadyForMs) return null;
    const { layerCurve, kindCurves, hostExperts, outputCurve, attentionMicros, diskBytesPerSecond } =
      stored.profile;
    const profile = {
      layerCurve,
      ...(kindCurves === undefined ? {} : { kindCurves }),
      ...(hostExperts === undefined ? {} : { hostExperts }),
      outputCurve,
      attentionMicros,
      diskBytesPerSecond,
    };
    // The wire's own check, since it must pass it in any case.
    encodeControl({ kind: 'profile', ...profile, hasFiles: false, cachedBytes: 0, heldShards: [] });
    return profile;
  }
}
