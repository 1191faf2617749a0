/** Losses count for this long. */
const memoryMs = 10 * 60_000;
/** How long a worker is left out after its second, third and further losses in that time; the first is forgiven. */
const pausesMs = [0, 10_000, 60_000, 300_000] as const;

/**
 * Which workers were lost of late, and until when each is left out. A worker that is lost again and again is kept out ever
 * longer, because each of its returns costs everybody a change of plan. By identity, since a worker comes back under
 * another id, and perhaps to another replica.
 */
export class Losses {
  readonly #atMs = new Map<string, number[]>();
  /** After losses; where nobody else can hold the model, it takes part all the same. */
  readonly #pausedUntilMs = new Map<string, number>();
  /** After a failure at its work, which would only come again. */
  readonly #barredUntilMs = new Map<string, number>();

  lost(identity: string, nowMs: number): void {
    const recent = (this.#atMs.get(identity) ?? []).filter((atMs) => atMs > nowMs - memoryMs);
    recent.push(nowMs);
    this.#atMs.set(identity, recent.slice(-pausesMs.length));
    const pauseMs = pausesMs[Math.min(recent.length, pausesMs.length) - 1] ?? 0;
    this.pause(identity, pauseMs, nowMs);
  }

  /** Leaves it out while the others can hold the model without it. */
  pause(identity: string, pauseMs: number, nowMs: number): void {
    const untilMs = Math.max(nowMs + pauseMs, this.#pausedUntilMs.get(identity) ?? 0);
    this.#pausedUntilMs.set(identity, untilMs);
    this.#forgetOld(nowMs);
  }

  leaveOut(identity: string, pauseMs: number, nowMs: number): void {
    const untilMs = Math.max(nowMs + pauseMs, this.#barredUntilMs.get(identity) ?? 0);
    this.#barredUntilMs.set(identity, untilMs);
    this.#forgetOld(nowMs);
  }

  /** What it was left out for was not its fault. */
  readmit(identity: string): void {
    this.#barredUntilMs.delete(identity);
    this.#pausedUntilMs.delete(identity);
  }

  /** A time in the past for whoever is not left out. */
  leftOutUntilMs(identity: string): number {
    return Math.max(this.#pausedUntilMs.get(identity) ?? 0, this.#barredUntilMs.get(identity) ?? 0);
  }

  /** Whether it is left out even where nobody else can hold the model. */
  isBarred(identity: string, nowMs: number): boolean {
    return (this.#barredUntilMs.get(identity) ?? 0) > nowMs;
  }

  isLeftOut(identity: string, nowMs: number): boolean {
    return this.leftOutUntilMs(identity) > nowMs;
  }

  /** The memory of losses is as bounded as time: whoever was not lost lately is forgotten. */
  #forgetOld(nowMs: number): void {
    for (const [identity, atMs] of this.#atMs)
      if ((atMs.at(-1) ?? 0) <= nowMs - memoryMs) this.#atMs.delete(identity);
    for (const untilMs of [this.#pausedUntilMs, this.#barredUntilMs])
      for (const [identity, endMs] of untilMs) if (endMs <= nowMs - memoryMs) untilMs.delete(identity);
  }
}
