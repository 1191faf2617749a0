import { chmod, readdir } from 'node:fs/promises';
import { type ButterflyError, makeDirectory } from '@butterfly/common';
import type { ClassicLevel } from 'classic-level';
import { failed } from '../failure.js';
import { firstKey, lastKey } from './layout.js';
import type { Change } from './layout.js';

type Level = ClassicLevel<Uint8Array, Uint8Array>;

/** Keys from one up to, and without, another one. */
export interface KeyRange {
  readonly gte: Uint8Array;
  readonly lt: Uint8Array;
}

/** Files of LevelDB. */
const levelFile = /^(?:CURRENT|LOCK|LOG|LOG\.old|MANIFEST-\d+|\d+\.(?:log|ldb|sst|dbtmp))$/u;

/** A LevelDB in a folder, whose work is done by threads of the library: what Butterfly needs of it, with errors of the table. */
export class LevelStore {
  #broken = false;

  private constructor(
    private readonly directory: string,
    private readonly level: Level,
  ) {}

  /**
   * Opens the store, or makes it. No other process can while this one has it, and the system lets it go when the process ends.
   * @throws ButterflyError JOURNAL_FAILED
   */
  static async open(directory: string, bufferBytes: number): Promise<LevelStore> {
    try {
      await makeDirectory(directory);
      await chmod(directory, 0o700);
    } catch (cause) {
      throw failed(`The folder ${directory} for the journal cannot be made or used; name another one`, cause);
    }
    await checkFiles(directory);
    const store = new LevelStore(directory, await loaded(directory, bufferBytes));
    await store.#open();
    return store;
  }

  /** Changes all, or nothing. Kept once the system has them, whether or not the disk has. @throws ButterflyError JOURNAL_FAILED */
  async write(changes: readonly Change[]): Promise<void> {
    if (this.#broken) await this.#reopen();
    try {
      await this.level.batch([...changes], { sync: false });
    } catch (cause) {
      // What follows half a write in a log would be lost with it: the store begins a new log when it is opened.
      this.#broken = true;
      throw failed(`The journal in ${this.directory} could not be written; see to its disk`, cause);
    }
  }

  /** Removes all within a range, by and by: a death in the midst leaves the rest. @throws ButterflyError JOURNAL_FAILED */
  async clear(range: KeyRange): Promise<void> {
    try {
      await this.level.clear(range);
    } catch (cause) {
      this.#broken = true;
      throw failed(`The journal in ${this.directory} could not be written; see to its disk`, cause);
    }
  }

  /** In the order of keys, as of now. @throws ButterflyError JOURNAL_FAILED */
  async *read(range: KeyRange): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    if (this.level.status !== 'open')
      throw failed(`The journal in ${this.directory} is not open since its disk failed; see to that`);
    const iterator = this.level.iterator(range);
    try {
      yield* iterator;
    } catch (cause) {
      throw this.damaged(cause);
    } finally {
      await iterator.close();
    }
  }

  /** Gives back the room of what was removed. @throws ButterflyError JOURNAL_FAILED */
  async compact(): Promise<void> {
    try {
      await this.level.compactRange(firstKey, lastKey);
    } catch (cause) {
      this.#broken = true;
      throw failed(`The journal in ${this.directory} could not be tidied; see to its disk`, cause);
    }
  }

  async close(): Promise<void> {
    await this.level.close();
  }

  damaged(cause?: unknown): ButterflyError {
    return failed(`The journal in ${this.directory} is damaged; move it away to begin a new one`, cause);
  }

  async #open(): Promise<void> {
    try {
      await this.level.open();
    } catch (thrown) {
      const cause = thrown instanceof Error && thrown.cause ? thrown.cause : thrown;
      if (codeOf(cause) === 'LEVEL_LOCKED')
        throw failed(
          `Another process has the journal in ${this.directory}; end it, or name another folder`,
          cause,
        );
      if (codeOf(cause) === 'LEVEL_CORRUPTION') throw this.damaged(cause);
      throw failed(
        `The journal in ${this.directory} cannot be opened; see to the folder, or move it away`,
        cause,
      );
    }
  }

  async #reopen(): Promise<void> {
    await this.level.close();
    await this.#open();
    this.#broken = false;
  }
}

/** The store would begin anew beside what is not its own, or beside what is left of it. */
async function checkFiles(directory: string): Promise<void> {
  const names = await readdir(directory);
  const foreign = names.find((name) => !levelFile.test(name));
  if (foreign !== undefined)
    throw failed(
      `The folder ${directory} holds what is no journal (${JSON.stringify(foreign)}); name another one`,
    );
  if (!names.includes('CURRENT') && names.some((name) => /\.(?:log|ldb|sst)$/u.test(name)))
    throw failed(
      `The journal in ${directory} is damaged: its file CURRENT is missing; move it away to begin a new one`,
    );
}

async function loaded(directory: string, bufferBytes: number): Promise<Level> {
  try {
    const { ClassicLevel } = await import('classic-level');
    return new ClassicLevel(directory, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      writeBufferSize: bufferBytes,
      cacheSize: bufferBytes,
      // The cores are the model's.
      compression: false,
    });
  } catch (cause) {
    throw failed(
      'This platform has no LevelDB for the journal (npm package classic-level); serve without one',
      cause,
    );
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null;
}
