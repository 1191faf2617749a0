export interface AccrualDetectorOptions {
  /** The rhythm in which the peer is heard of at least, as long as all is well. */
  readonly everyMs: number;
  /** Silence that no history of the network excuses. */
  readonly silenceMaxMs: number;
  /** Suspicion from which on the peer counts as lost: 8 is wrong once in 10^8 beats, if silences are normal. */
  readonly threshold: number;
}

/** Silences that are remembered: half a minute of beats at 250 ms, so that a network may change its ways. */
const windowSamples = 128;

/**
 * Least deviation of silences, in beats. A calm network would otherwise make a hiccup of milliseconds suspicious; with
 * one beat and a threshold of 8, a peer is never suspected before 6.2 beats.
 */
const deviationMinBeats = 1;

/**
 * Says from the rhythm of a peer how suspicious its silence is: the phi-accrual failure detector of Hayashibara,
 * Défago, Yared and Katayama (SRDS 2004), with the normal distribution as in Akka. Phi is minus the decimal logarithm
 * of the probability that the peer, if alive, is silent for so long. Times are milliseconds of any clock that does not
 * run backwards. Suspicion of a silent peer never falls.
 *
 * The samples are not the times between arrivals, as in the paper, but the longest silence within each beat, and at
 * least one beat: busy traffic thus neither makes the detector nervous nor pushes what it learned out of the window.
 */
export class AccrualDetector {
  readonly #options: AccrualDetectorOptions;
  #samplesMs: number[] = [];
  #nextSample = 0;
  #meanMs: number;
  #deviationMs: number;
  #heardAtMs: number | null = null;
  #sampledAtMs = 0;
  #longestMs = 0;

  constructor(options: AccrualDetectorOptions) {
    this.#options = options;
    this.#meanMs = options.everyMs;
    this.#deviationMs = deviationMinBeats * options.everyMs;
  }

  /** The peer gave a sign of life. The first call starts the detector. */
  heard(nowMs: number): void {
    if (this.#heardAtMs === null) {
      this.#heardAtMs = nowMs;
      this.#sampledAtMs = nowMs;
      return;
    }
    this.#longestMs = Math.max(this.#longestMs, nowMs - this.#heardAtMs);
    this.#heardAtMs = nowMs;
    const { everyMs, silenceMaxMs } = this.#options;
    if (nowMs - this.#sampledAtMs < everyMs) return;
    this.#learn(Math.min(Math.max(this.#longestMs, everyMs), silenceMaxMs));
    this.#sampledAtMs = nowMs;
    this.#longestMs = 0;
  }

  /** Time since the last sign of life; 0 before the first. */
  silenceMs(nowMs: number): number {
    return this.#heardAtMs === null ? 0 : Math.max(0, nowMs - this.#heardAtMs);
  }

  /** The suspicion, from 0 on; 0 before the first sign of life. */
  phi(nowMs: number): number {
    if (this.#heardAtMs === null) return 0;
    const deviations = (this.silenceMs(nowMs) - this.#meanMs) / this.#deviationMs;
    // The logistic approximation of the normal distribution (Bowling et al. 2009): P(later) = 1 / (1 + e^x).
    const x = deviations * (1.5976 + 0.070566 * deviations ** 2);
    return (Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))) / Math.LN10;
  }

  /** Whether the peer counts as lost. */
  isSuspected(nowMs: number): boolean {
    return this.silenceMs(nowMs) >= this.#options.silenceMaxMs || this.phi(nowMs) >= this.#options.threshold;
  }

  #learn(sampleMs: number): void {
    this.#samplesMs[this.#nextSample] = sampleMs;
    this.#nextSample = (this.#nextSample + 1) % windowSamples;
    const count = this.#samplesMs.length;
    this.#meanMs = this.#samplesMs.reduce((sum, sample) => sum + sample, 0) / count;
    const variance = this.#samplesMs.reduce((sum, sample) => sum + (sample - this.#meanMs) ** 2, 0) / count;
    this.#deviationMs = Math.max(Math.sqrt(variance), deviationMinBeats * this.#options.everyMs);
  }
}
