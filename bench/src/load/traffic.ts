import { uniforms } from '@butterfly/common';

/** One request of the load, the same for whoever serves it. */
export interface LoadRequest {
  readonly prompt: readonly number[] | string;
  readonly outputTokens: number;
  /** 0, which is greedy, by default. */
  readonly temperature?: number;
  readonly seed?: number;
  /** The client hangs up after so many pieces. */
  readonly hangUpAfter?: number;
}

/** A request with the prompt in tokens, as every side takes it. */
export interface TokenRequest extends LoadRequest {
  readonly prompt: readonly number[];
}

/** A log-normal distribution of lengths, cut off at both ends. */
export interface Lengths {
  readonly median: number;
  /** Deviation of the logarithm: at 0.8 one in six is more than 2.2 times the median. */
  readonly sigma: number;
  readonly min: number;
  readonly max: number;
}

export interface TrafficOptions {
  /** The same key gives the same requests on every machine. */
  readonly key: string;
  readonly requests: number;
  readonly prompt: Lengths;
  readonly output: Lengths;
  /** Tokens of prompts are drawn from this range, its end excluded. */
  readonly tokens: readonly [first: number, end: number];
}

/** Lengths like those of chat traffic, cut off so that a run takes minutes. */
export const chatLengths = Object.freeze({
  prompt: { median: 100, sigma: 0.8, min: 16, max: 400 },
  output: { median: 80, sigma: 0.8, min: 16, max: 400 },
}) satisfies Readonly<Record<'prompt' | 'output', Lengths>>;

/** Requests with prompts of random tokens, which share no prefix and decode to texts of their own. */
export function trafficOf(options: TrafficOptions): TokenRequest[] {
  const uniform = uniforms(options.key);
  const [first, end] = options.tokens;
  return Array.from({ length: options.requests }, () => {
    const promptTokens = drawLength(options.prompt, uniform);
    const outputTokens = drawLength(options.output, uniform);
    const prompt = Array.from({ length: promptTokens }, () => first + Math.floor(uniform() * (end - first)));
    return { prompt, outputTokens };
  });
}

function drawLength({ median, sigma, min, max }: Lengths, uniform: () => number): number {
  // Box and Muller's normal variate.
  const normal = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return Math.min(max, Math.max(min, Math.round(median * Math.exp(sigma * normal))));
}
