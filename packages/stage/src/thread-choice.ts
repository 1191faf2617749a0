/** A step of `rows` rows took so long. */
interface Took {
  readonly rows: number;
  readonly micros: number;
}

/** What is known of steps of one number of rows, with the threads in use. */
interface Usual {
  count: number;
  /** Over the last few steps, and over many. */
  recentMicros: number;
  longMicros: number;
  atMs: number;
}

interface Trial {
  readonly startMs: number;
  readonly threads: number;
  readonly rows: number;
  /** What the threads in use took before. */
  readonly usualMicros: number;
  readonly micros: number[];
}

const stepsToKnow = 4;
const stepsToTry = 3;
/** A trial ends after a step that is so much slower. */
const hopeless = 1.15;
const worthwhile = 0.93;
/** Something else has come to want the cores, or has left. */
const changed = 1.25;
const recentShare = 0.4;
const longShare = 0.03;
/** Steps of another time say nothing: the machine may have been given to others meanwhile. */
const freshMs = 2_000;
/** A trial that fails costs a part of a step; after each the next is put off for twice as long. */
const pauseMs = { least: 250, most: 8_000 } as const;
/** Distinct numbers of rows that are remembered. */
const usualMax = 64;

/**
 * How many of its threads a worker should compute with. ggml's threads wait for each other by polling, so one that has to
 * share its core with another program holds all others up, by far more than its share: beside a single busy process two
 * threads on two cores take three times as long for a token as one. Nothing tells that beforehand on every system, so other
 * numbers are tried now and then, for steps as large as those before them, and kept where they are faster. How many threads
 * compute a row leaves its numbers as they are (decision 0027). A pure table: times come in with the calls.
 */
export class ThreadChoice {
  #threads: number;
  #usual = new Map<number, Usual>();
  #trial: Trial | null = null;
  #pauseMs: number = pauseMs.least;
  #nextTrialMs = 0;
  /** Which of the other numbers comes next. */
  #turn = 0;

  constructor(readonly threadsMax: number) {
    this.#threads = threadsMax;
  }

  /** Those in use, apart from trials. */
  get threads(): number {
    return this.#threads;
  }

  /** With how many threads to compute the next step, of so many rows. */
  next(rows: number, nowMs: number): number {
    if (this.threadsMax === 1) return 1;
    if (this.#trial) return this.#trial.rows === rows ? this.#trial.threads : this.#threads;
    const usual = this.#usual.get(rows);
    if (nowMs < this.#nextTrialMs || !usual || usual.count < stepsToKnow || nowMs - usual.atMs > freshMs)
      return this.#threads;
    const threads = this.#other();
    this.#trial = { startMs: nowMs, threads, rows, usualMicros: usual.recentMicros, micros: [] };
    return threads;
  }

  /** What the step took for which `next` was asked last. */
  took(step: Took, nowMs: number): void {
    if (this.threadsMax === 1) return;
    const trial = this.#trial;
    if (trial && nowMs - trial.startMs > freshMs) this.#end(nowMs);
    else if (trial?.rows === step.rows) this.#tried(trial, step.micros, nowMs);
    else this.#learn(step, nowMs);
  }

  #tried(trial: Trial, micros: number, nowMs: number): void {
    trial.micros.push(micros);
    if (micros > hopeless * trial.usualMicros) {
      this.#fail(nowMs);
      return;
    }
    if (trial.micros.length < stepsToTry) return;
    const middle = [...trial.micros].sort((a, b) => a - b)[stepsToTry >> 1] ?? Infinity;
    if (middle > worthwhile * trial.usualMicros) {
      this.#fail(nowMs);
      return;
    }
    this.#threads = trial.threads;
    this.#usual.clear();
    this.#pauseMs = pauseMs.least;
    this.#end(nowMs);
  }

  #fail(nowMs: number): void {
    this.#turn += 1;
    this.#pauseMs = Math.min(pauseMs.most, this.#pauseMs * 2);
    this.#end(nowMs);
  }

  #end(nowMs: number): void {
    this.#trial = null;
    this.#nextTrialMs = nowMs + this.#pauseMs;
  }

  #learn({ rows, micros }: Took, nowMs: number): void {
    const known = this.#usual.get(rows);
    if (!known || nowMs - known.atMs > freshMs) {
      this.#usual.delete(rows);
      this.#usual.set(rows, { count: 1, recentMicros: micros, longMicros: micros, atMs: nowMs });
      const [oldest] = this.#usual.keys();
      if (this.#usual.size > usualMax && oldest !== undefined) this.#usual.delete(oldest);
      return;
    }
    known.count += 1;
    known.atMs = nowMs;
    known.recentMicros += recentShare * (micros - known.recentMicros);
    known.longMicros += longShare * (micros - known.longMicros);
    const isChanged = known.count > stepsToKnow && known.recentMicros > changed * known.longMicros;
    if (!isChanged || this.#pauseMs === pauseMs.least) return;
    this.#pauseMs = pauseMs.least;
    this.#nextTrialMs = nowMs;
  }

  /** Those that are most often better come first: one fewer, half as many, one more, twice as many. */
  #other(): number {
    const now = this.#threads;
    const all = Array.from({ length: this.threadsMax }, (_, at) => at + 1);
    const others = new Set([now - 1, now >> 1, now + 1, now * 2, ...all]);
    const possible = [...others].filter((threads) => threads !== now && all.includes(threads));
    return possible[this.#turn % possible.length] ?? now;
  }
}
