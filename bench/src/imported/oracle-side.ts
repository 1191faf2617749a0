import { openOracleBatches } from '@butterfly/testkit';
import { type BatchLoad, type BatchSpeeds, promptsOf, speedsOf } from './load.js';

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

  async run(load: BatchLoad): Promise<BatchSpeeds> {
    const context = this.contexts.get(load);
    if (!context) throw new RangeError('there is no context for this load');
    let begun = 0;
    let firstMs = NaN;
    const startedMs = performance.now();
    const texts = promptsOf(load).map((prompt) => {
      let made = 0;
      return context.generate(prompt, 1 + load.decodeSteps, () => {
        if (++made === 1 && ++begun === load.sequences) firstMs = performance.now();
      });
    });
    await Promise.all(texts);
    return speedsOf(load, firstMs - startedMs, performance.now() - firstMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const context of this.contexts.values()) await context[Symbol.asyncDispose]();
    await this.oracles[Symbol.asyncDispose]();
  }
}
