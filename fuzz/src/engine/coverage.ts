import { Session } from 'node:inspector/promises';
import type { Profiler } from 'node:inspector';

/** Which characters of which script ran. */
export type Ran = ReadonlyMap<string, Uint8Array>;

/** Asks V8 which blocks of our own scripts ran, in the thread that it is made in. */
export class Coverage {
  readonly #known = new Map<string, Uint8Array>();
  private constructor(
    private readonly session: Session,
    /** Only scripts whose URL has this in it count. */
    private readonly within: string,
  ) {}

  /** To be called before what is of interest is loaded: functions that were compiled before are not told of. */
  static async start(within: string): Promise<Coverage> {
    const session = new Session();
    session.connect();
    await session.post('Profiler.enable');
    // Counts begin anew with each take, so that a take tells of what ran since the last one.
    await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
    return new Coverage(session, within);
  }

  /** What ran since the last time. */
  async take(): Promise<Ran> {
    const { result } = await this.session.post('Profiler.takePreciseCoverage');
    const ran = new Map<string, Uint8Array>();
    for (const { url, functions } of result)
      if (url.includes(this.within)) ran.set(url, charactersOf(functions));
    return ran;
  }

  /** Whether something ran that never ran before. */
  isNew(ran: Ran): boolean {
    for (const [url, characters] of ran) {
      const known = this.#known.get(url);
      for (let at = 0; at < characters.length; at++)
        if (characters[at] === 1 && known?.[at] !== 1) return true;
    }
    return false;
  }

  learn(ran: Ran): void {
    for (const [url, characters] of ran) {
      const known = this.#known.get(url) ?? new Uint8Array(0);
      const merged = new Uint8Array(Math.max(known.length, characters.length));
      merged.set(known);
      for (let at = 0; at < characters.length; at++) if (characters[at] === 1) merged[at] = 1;
      this.#known.set(url, merged);
    }
  }

  /** Characters of scripts that ran so far. */
  get characters(): number {
    let sum = 0;
    for (const known of this.#known.values()) for (const is of known) sum += is;
    return sum;
  }

  async stop(): Promise<void> {
    await this.session.post('Profiler.stopPreciseCoverage');
    this.session.disconnect();
  }
}

/** Functions, and the ranges of each, come with what lies around before what lies inside, which says it more exactly. */
function charactersOf(functions: readonly Profiler.FunctionCoverage[]): Uint8Array {
  const length = functions.reduce(
    (max, { ranges }) => ranges.reduce((end, range) => Math.max(end, range.endOffset), max),
    0,
  );
  const characters = new Uint8Array(length);
  for (const { ranges } of functions)
    for (const { startOffset, endOffset, count } of ranges)
      characters.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  return characters;
}
