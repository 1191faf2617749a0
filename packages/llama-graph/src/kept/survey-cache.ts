import { createHash, randomBytes } from 'node:crypto';
import { readFile, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Logger, limits, makeDirectory } from '@butterfly/common';
import { expectedVersions } from '@butterfly/ggml';
import type { SurveyRequest } from '../survey-model.js';
import type { GraphSurvey } from '../survey.js';

/**
 * Raised whenever the survey of a header says something else than before, or refuses more, so that older files are made
 * again; a test compares it with what surveys say.
 */
export const surveyVersion = 3;

const prefix = 'survey-';
const hashLength = 64;

/**
 * Surveys on disk, each under the hash of all that it depends on: the header, the libraries and how surveys are made. Only
 * what was found is kept; a model that was refused is looked at again. Begins with the hash of the rest, since a
 * damaged survey would be graphs of another model.
 */
export class SurveyCache {
  /** @param ggmlDirectory where other libraries of the same version are, which may have been changed */
  constructor(
    private readonly directory: string,
    private readonly ggmlDirectory: string | undefined,
    private readonly log: Logger,
  ) {}

  /**
   * What is kept of this header, else what `make` finds, which is then kept for the next time.
   * @throws whatever `make` throws
   */
  async find(
    request: SurveyRequest,
    make: (request: SurveyRequest) => Promise<GraphSurvey>,
  ): Promise<GraphSurvey> {
    const path = join(this.directory, `${prefix}${this.#hashOf(request)}.json`);
    const kept = await this.#read(path);
    if (kept !== null) return kept;
    const survey = await make(request);
    await this.#write(path, survey);
    return survey;
  }

  #hashOf({ header, isChunked, isRanking }: SurveyRequest): string {
    const { ggmlDirectory = null } = this;
    const dependsOn = {
      surveyVersion,
      expectedVersions,
      ggmlDirectory,
      isChunked,
      isRanking,
      header: hashOf(header),
    };
    return hashOf(JSON.stringify(dependsOn));
  }

  /** Null when nothing usable is there. */
  async #read(path: string): Promise<GraphSurvey | null> {
    const found = await stat(path).catch(() => null);
    if (found === null) return null;
    const text = found.size > limits.surveyBytesMax ? '' : await readFile(path, 'utf8').catch(() => '');
    const body = text.slice(hashLength);
    if (hashOf(body) !== text.slice(0, hashLength)) {
      this.log.warn({ path }, 'A kept survey of a model is damaged and is made again.');
      return null;
    }
    // Those that are used stay.
    const now = new Date();
    await utimes(path, now, now).catch(() => undefined);
    return JSON.parse(body) as GraphSurvey;
  }

  /** Writes all or nothing; a disk that does not take it costs only the time of another survey. */
  async #write(path: string, survey: GraphSurvey): Promise<void> {
    const body = JSON.stringify(survey);
    const bytes = Buffer.from(hashOf(body) + body);
    if (bytes.length > limits.surveyBytesMax) return;
    const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      await makeDirectory(this.directory);
      await writeFile(temporary, bytes, { flush: true });
      await rename(temporary, path);
      await this.#removeOld();
    } catch (error) {
      this.log.debug({ error: String(error), path }, 'The survey of a model could not be kept.');
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  /** Leaves the ones that were used last; what a process left half-written when it ended is among the others in time. */
  async #removeOld(): Promise<void> {
    const names = (await readdir(this.directory)).filter((name) => name.startsWith(prefix));
    if (names.length <= limits.surveysKeptMax) return;
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(this.directory, name);
        // Another process may have removed it meanwhile.
        const usedMs = (await stat(path).catch(() => null))?.mtimeMs ?? 0;
        return { path, usedMs };
      }),
    );
    const old = files.sort((a, b) => b.usedMs - a.usedMs).slice(limits.surveysKeptMax);
    await Promise.all(old.map(({ path }) => rm(path, { force: true })));
  }
}

function hashOf(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
