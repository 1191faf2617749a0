import { type DeployedModel, Orchestrator } from '@butterfly/orchestrator';
import { plainWishes } from '@butterfly/planning';
import { randomBits, SimulatedClock, SimulatedNetwork } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { Client } from './client.js';
import { fakeSpec } from './fake-model.js';
import { Journal } from './journal.js';
import { joinsAt, orchestratorHost, SimulatedWorker } from './simulated-worker.js';

const layers = 8;
const mib = 2 ** 20;

/** Three workers, each of which holds half of the model, under simulated time: two stages and a spare. */
class VerifiedCluster {
  readonly clock = new SimulatedClock();
  readonly journal = new Journal(this.clock);
  readonly accused: string[] = [];
  readonly #network = new SimulatedNetwork({ clock: this.clock, seed: 'verified' });
  readonly #workers: readonly SimulatedWorker[];
  #orchestrator: Orchestrator | null = null;
  #model: DeployedModel | null = null;

  constructor(count = 3) {
    this.#workers = Array.from({ length: count }, (_, index) => {
      const traits = {
        memoryBytes: 440 * mib,
        layerMicros: 2_000,
        diskBytesPerSecond: 800e6,
        profilingMs: 50,
        isBatchInvariant: true,
      };
      return new SimulatedWorker({ name: `host-${index}`, startMs: 0, traits }, this.#network, this.journal);
    });
  }

  get orchestrator(): Orchestrator {
    if (!this.#orchestrator) throw new Error('It has not started.');
    return this.#orchestrator;
  }

  /** Until a spare may be asked. */
  async start(verifyRate: number): Promise<this> {
    const bits = randomBits('draws');
    const host = this.#network.host(orchestratorHost);
    const starting = Orchestrator.start({
      ...joinsAt(host),
      clock: host.clock,
      observe: (event) => {
        if (event.kind === 'numbersApart') this.accused.push(event.name);
      },
    });
    this.#orchestrator = await this.clock.settle(starting);
    this.#model = this.#orchestrator.deploy({
      spec: fakeSpec(layers),
      modelId: 'simulated',
      capacity: { contextTokens: 512, parallel: 2 },
      numerics: { kvCacheType: 'f16', isDeterministic: false },
      wishes: { ...plainWishes, stagesMin: 2, spares: 1 },
      verifyRate,
      draw: () => (bits() >>> 0) / 2 ** 32,
      workersExpected: this.#workers.length,
    });
    for (const worker of this.#workers) worker.start();
    await this.until(() => (this.verification?.stages.length ?? 0) > 0);
    return this;
  }

  get verification() {
    return this.orchestrator.describe().replicas[0]?.verification ?? null;
  }

  /** Whose stage a spare computes too. */
  get watched(): SimulatedWorker {
    const { replicas, workers } = this.orchestrator.describe();
    const stage = replicas[0]?.plan?.stages[this.verification?.stages[0] ?? -1];
    return this.#named(workers.find(({ workerId }) => workerId === stage?.workerId)?.name);
  }

  get spare(): SimulatedWorker {
    return this.#named(this.orchestrator.describe().workers.find(({ state }) => state === 'spare')?.name);
  }

  /** Workers by what they do. */
  get states(): string[] {
    return this.orchestrator
      .describe()
      .workers.map(({ state }) => state)
      .sort();
  }

  /** One request to its end, with every word held against what the model says unless a worker lies. */
  async ask(seed: number): Promise<Client> {
    const { clock, journal } = this;
    const engine = this.#model?.engine;
    if (!engine) throw new Error('It has not started.');
    const request = {
      ...{ atMs: 0, timeoutMs: 60_000, priority: 0, promptTokens: Int32Array.of(1, 2, 3, seed % 7) },
      ...{ outputTokensMax: 30, sampling: { ...greedySampling, seed }, stopTokens: new Set<number>() },
      ...{ logprobs: null, promptLogprobs: null },
    };
    const client = new Client(`request ${seed}`, request, {
      engine,
      layers,
      clock,
      journal,
      liveSinceMs: () => 0,
    });
    await clock.settle(client.run(), { withinMs: 120_000 });
    return client;
  }

  async until(isDone: () => boolean): Promise<void> {
    if (!(await this.clock.until(isDone, 60_000))) throw new Error('It did not come to that.');
  }

  async stop(): Promise<void> {
    await this.clock.settle(this.orchestrator.stop(), { withinMs: 60_000 });
    await this.clock.settle(Promise.all(this.#workers.map((worker) => worker.stop())), { withinMs: 60_000 });
  }

  #named(name: string | undefined): SimulatedWorker {
    const found = this.#workers.find((worker) => worker.name === name);
    if (!found) throw new Error('There is no such worker.');
    return found;
  }
}

let cluster: VerifiedCluster | null = null;
afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

function lie({ machine }: SimulatedWorker): void {
  if (machine) machine.isLying = true;
}

describe('what spare workers compute a second time', () => {
  it('is the same of honest workers', async () => {
    cluster = await new VerifiedCluster().start(1);
    for (const seed of [1, 2, 3]) await cluster.ask(seed);
    expect(cluster.verification).toMatchObject({ sequences: 3, abandoned: 0, differenceMax: 0 });
    expect(cluster.verification?.rows).toBeGreaterThan(3 * 30);
    expect([cluster.accused, cluster.journal.violations]).toEqual([[], []]);
  });

  it('finds one that lies within three steps, and what it said is computed anew', async () => {
    cluster = await new VerifiedCluster().start(1);
    await cluster.ask(1);
    const { watched } = cluster;
    const steps = cluster.verification?.steps ?? 0;
    lie(watched);
    await cluster.ask(2);
    expect(cluster.accused).toEqual([watched.name]);
    expect((cluster.verification?.steps ?? 0) - steps).toBeLessThanOrEqual(3);
    // Two cannot hold the model without the spare, so it takes part, whoever was right.
    expect(cluster.states).toEqual(['leftOut', 'serving', 'serving']);
    expect(cluster.orchestrator.describe().notes.join()).toContain(`${watched.name} is left out`);
    const told = cluster.journal.violations.length;
    await cluster.ask(3);
    expect(cluster.journal.violations).toHaveLength(told);
  });

  it('finds it within twenty requests where one in four is computed twice', async () => {
    cluster = await new VerifiedCluster().start(0.25);
    lie(cluster.watched);
    let asked = 0;
    while (cluster.accused.length === 0 && asked < 20) await cluster.ask(++asked);
    expect(cluster.accused).toHaveLength(1);
  });

  it('leaves out both where the others can do without', async () => {
    cluster = await new VerifiedCluster(5).start(1);
    const { spare } = cluster;
    lie(spare);
    await cluster.ask(1);
    await cluster.until(() => cluster?.states.filter((state) => state === 'serving').length === 2);
    expect(cluster.accused).toHaveLength(1);
    expect(cluster.states.filter((state) => state === 'leftOut')).toHaveLength(2);
    expect(cluster.journal.violations).toEqual([]);
  });
});
