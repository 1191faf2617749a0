import { openOracleBatches } from '@butterfly/testkit';
import { type BatchLoad, type BatchSpeeds, type Lap, LapTimer, promptsOf, speedsOf } from './load.js';

type Oracles = Awaited<ReturnType<typeof openOracleBatches>>;
type OracleContext = Awaited<ReturnType<Oracles['open']>>;

/** The same in llama.cpp through node-llama-cpp, with a context for each load. */
export class OracleSide implements AsyncDisposable {
  private constructor(
    private readonly oracles: Oracles,
    private readonly contexts: ReadonlyMap<BatchLoad, OracleContext>,
  ) {}

  static async load(path: string, threads: number, loads: readonly BatchLoad[]): Promise<OracleSide> {
    const oracles = await openOracleBatches(path);
    const contexts = new Map<BatchLoad, OracleContext>();
    for (const load of loads) {
      const { sequences, contextTokens } = load;
      contexts.set(load, await oracles.open({ threads, sequences, contextTokens }));
    }
    return new OracleSide(oracles, contexts);
  }

  async run(load: BatchLoad, decodeSteps: number): Promise<BatchSpeeds> {
    const context = this.contexts.get(load);
    if (!context) throw new RangeError('there is no context for this load');
    let begun = 0;
    const laps: Lap[] = [];
    const timer = new LapTimer();
    const texts = promptsOf(load).map((prompt) => {
      let made = 0;
      return context.generate(prompt, 1 + decodeSteps, () => {
        if (++made === 1 && ++begun === load.sequences) laps.push(timer.lap());
      });
    });
    await Promise.all(texts);
    const [prefill] = laps;
    if (!prefill) throw new Error('llama.cpp did not begin all texts.');
    return speedsOf({ ...load, decodeSteps }, prefill, timer.lap());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const context of this.contexts.values()) await context[Symbol.asyncDispose]();
    await this.oracles[Symbol.asyncDispose]();
  }
}
