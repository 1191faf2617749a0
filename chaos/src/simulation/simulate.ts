import { createHash } from 'node:crypto';
import { logObserver, type Observer, toButterflyError } from '@butterfly/common';
import {
  type DeployedModel,
  Orchestrator,
  type ModelOptions,
  assumedLink,
  stepRowsMax,
} from '@butterfly/orchestrator';
import { type PlannerMember, plainWishes, planPipeline, plannerInput } from '@butterfly/planning';
import { randomBits, SimulatedClock, SimulatedNetwork } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { Client, type Outcome } from './client.js';
import type { FakeMachine } from './fake-machine.js';
import { fakeSpec } from './fake-model.js';
import { commit } from './faults.js';
import { Journal } from './journal.js';
import { contextTokens, scheduleOf, type Schedule } from './schedule.js';
import { joinsAt, orchestratorHost, SimulatedWorker } from './simulated-worker.js';

export interface SimulationReport {
  readonly seed: number;
  /** What must not have happened; empty when all is well. */
  readonly violations: readonly string[];
  /** All that happened, line by line. */
  readonly lines: readonly string[];
  readonly simulatedMs: number;
  readonly outcomes: readonly Outcome[];
  readonly steps: number;
  /** Those that spares computed too. */
  readonly verifiedSteps: number;
  /** Plans that were live. */
  readonly plans: number;
  /** Pipelines that were live at some time. */
  readonly replicas: number;
  /** Whether the workers that were left could hold the model. */
  readonly isFeasible: boolean;
}

/** Longer than any worker is left out, and than anything is waited for. */
const recoveryMs = 420_000;
const settlingMs = 2_000;
/** Requests that are open then are none of the faults'. */
const requestsMs = 200_000;
/** The last timers of whatever is closed. */
const silenceMs = 200_000;

/**
 * Runs a whole cluster in one process under simulated time: the real orchestrator and workers over a simulated network,
 * with nothing false but the arithmetic. Faults and all else that is random come from the seed, so that the same seed
 * gives the same lines. One at a time in a process.
 */
export async function simulate(seed: number): Promise<SimulationReport> {
  const clock = new SimulatedClock();
  const simulation = new Simulation(scheduleOf(seed), clock);
  const onRejection = (reason: unknown): void => {
    const error = toButterflyError(reason);
    simulation.journal.violate('process', `unhandled rejection: ${error.stack ?? error.message}`);
  };
  process.on('unhandledRejection', onRejection);
  try {
    await simulation.run();
  } catch (thrown) {
    const { stack, message } = toButterflyError(thrown);
    const cause = thrown instanceof Error ? thrown.stack : stack;
    simulation.journal.violate('process', `threw: ${cause ?? message}`);
  } finally {
    process.off('unhandledRejection', onRejection);
  }
  return simulation.report();
}

/** Of a report, what another run of the same seed must equal. */
export function fingerprint({ lines }: SimulationReport): string {
  return createHash('sha256').update(lines.join('\n')).digest('hex');
}

class Simulation {
  readonly journal: Journal;
  readonly #network: SimulatedNetwork;
  readonly #workers: readonly SimulatedWorker[];
  readonly #clients: Client[] = [];
  #orchestrator: Orchestrator | null = null;
  #model: DeployedModel | null = null;
  #faultsOpen: number;
  #steps = 0;
  #verifiedSteps = 0;
  #isFeasible = false;
  #liveSinceMs: number | null = null;

  constructor(
    private readonly schedule: Schedule,
    private readonly clock: SimulatedClock,
  ) {
    this.journal = new Journal(clock);
    this.#network = new SimulatedNetwork({ clock, seed: String(schedule.seed), conditions: schedule.link });
    this.#workers = schedule.workers.map((plan) => new SimulatedWorker(plan, this.#network, this.journal));
    this.#faultsOpen = schedule.faults.length;
  }

  async run(): Promise<void> {
    const { schedule, clock, journal } = this;
    const [network, workers] = [this.#network, this.#workers];
    const { options, link, faults } = schedule;
    journal.note('schedule', JSON.stringify({ options, link, faults }));
    const host = network.host(orchestratorHost);
    const starting = Orchestrator.start({
      ...joinsAt(host),
      clock: host.clock,
      observe: this.#observer(),
    });
    const orchestrator = await clock.settle(starting);
    this.#orchestrator = orchestrator;
    this.#model = orchestrator.deploy(this.#modelOptions());
    const hidden = workers[schedule.hidden ?? -1]?.name;
    for (const { name } of workers)
      if (hidden !== undefined && name !== hidden) network.link(hidden, name).cut();
    for (const worker of workers) clock.after(worker.plan.startMs, () => worker.start());
    for (const request of schedule.requests) clock.after(request.atMs, () => this.#send(request));
    for (const fault of schedule.faults)
      clock.after(fault.atMs, () => {
        const around = { schedule, clock, journal, network, workers, orchestrator };
        void commit(fault, around).then(() => (this.#faultsOpen -= 1));
      });
    await this.#until(
      () => this.#faultsOpen === 0 && this.#clients.length === schedule.requests.length,
      120_000,
    );
    await this.#recover();
    for (const { verification } of orchestrator.describe().replicas)
      this.#verifiedSteps += verification?.steps ?? 0;
    await this.#stop(orchestrator);
  }

  report(): SimulationReport {
    const { schedule, journal, clock } = this;
    const live = journal.lines.filter((line) => line.includes('The plan is live.'));
    return {
      seed: schedule.seed,
      violations: journal.violations,
      lines: journal.lines,
      simulatedMs: clock.nowMs(),
      outcomes: this.#clients.map(({ outcome }) => outcome),
      steps: this.#steps,
      verifiedSteps: this.#verifiedSteps,
      plans: live.length,
      replicas: new Set(live.map((line) => /"replica":\d+/u.exec(line)?.[0])).size,
      isFeasible: this.#isFeasible,
    };
  }

  /** All is mended: who is there must become a live cluster and answer, if they can. */
  async #recover(): Promise<void> {
    this.journal.note('simulation', 'all faults are mended');
    // Whoever was just told goodbye leaves.
    await this.#until(() => false, settlingMs);
    const isAnswered = (): boolean => this.#clients.every(({ outcome }) => outcome !== 'open');
    this.#isFeasible = this.#couldHold();
    if (this.#isFeasible) {
      const isLive = await this.#until(() => this.#liveSinceMs !== null, recoveryMs);
      if (!isLive) this.#violateDead('is not live again');
      this.#send({
        ...{
          promptTokens: Int32Array.of(1, 2, 3),
          outputTokensMax: 4,
          logprobs: null,
          promptLogprobs: null,
          atMs: 0,
          timeoutMs: 150_000,
          priority: 0,
        },
        ...{ sampling: greedySampling, stopTokens: new Set<number>() },
      });
    }
    if (await this.#until(isAnswered, requestsMs)) {
      const last = this.#clients.at(-1)?.outcome;
      if (this.#isFeasible && last !== 'end') this.#violateDead(`did not answer the last request: ${last}`);
    } else this.#violateDead('has requests that never end');
  }

  async #stop(orchestrator: Orchestrator): Promise<void> {
    this.journal.note('simulation', 'stops');
    const { clock } = this;
    await clock.settle(orchestrator.stop(), { withinMs: silenceMs });
    await clock.settle(Promise.all(this.#workers.map((worker) => worker.stop())), { withinMs: silenceMs });
    // A connection that is open beats, and whatever is waited for has a timer.
    await clock.until(() => false, silenceMs);
    if (!clock.isIdle) {
      this.journal.violate('simulation', 'something still happens long after all was stopped');
      return;
    }
    for (const { name, isRunning } of this.#workers)
      if (isRunning) this.journal.violate(name, 'still runs after all was stopped');
  }

  #violateDead(what: string): void {
    const detail = JSON.stringify(this.#orchestrator?.describe());
    this.journal.violate('cluster', `${what}: ${detail}`);
  }

  /** False when it did not happen in time. */
  #until(isDone: () => boolean, withinMs: number): Promise<boolean> {
    return this.clock.until(() => {
      this.#look();
      return isDone();
    }, withinMs);
  }

  /** What is to be seen after every event. */
  #look(): void {
    const isLive = this.#model?.isLive === true;
    if (!isLive) this.#liveSinceMs = null;
    else this.#liveSinceMs ??= this.clock.nowMs();
  }

  #send(request: Schedule['requests'][number]): void {
    const { clock, journal, schedule } = this;
    const engine = this.#model?.engine;
    if (!engine) return;
    const liveSinceMs = (): number | null => this.#liveSinceMs;
    const around = { engine, layers: schedule.layers, clock, journal, liveSinceMs };
    const client = new Client(`request ${this.#clients.length}`, request, around);
    this.#clients.push(client);
    void client.run();
  }

  /** Whether the planner finds a plan for the workers that run and are not asked to leave. */
  #couldHold(): boolean {
    const { layers, parallel, options } = this.schedule;
    const known = this.#orchestrator?.describe().workers ?? [];
    const leaving = new Set(known.filter(({ state }) => state === 'draining').map(({ name }) => name));
    const members = this.#workers.flatMap(({ name, plan, machine }) =>
      machine && !leaving.has(name)
        ? [{ workerId: name, name, memoryBytes: plan.traits.memoryBytes, profile: profileOf(machine) }]
        : [],
    );
    // The first plan waits for all that are expected.
    const hasPlanned = this.journal.lines.some((line) => line.includes('A shard is to be loaded.'));
    if (!hasPlanned && members.length < options.workersExpected) return false;
    const spec = fakeSpec(layers);
    const settings = {
      spec,
      arenaSlots: contextTokens * parallel,
      rowsMax: stepRowsMax(spec, contextTokens),
      wishes: { ...plainWishes, objective: options.objective },
      concurrency: parallel,
    };
    try {
      planPipeline(plannerInput(settings, members, () => ({ ...assumedLink, isRelayed: false }), 'f16'));
      return true;
    } catch {
      return false;
    }
  }

  #modelOptions(): ModelOptions {
    const { schedule } = this;
    const { speculation, verifyRate, workersExpected, ...wishes } = schedule.options;
    const bits = randomBits(`draws ${schedule.seed}`);
    return {
      spec: fakeSpec(schedule.layers),
      modelId: 'simulated',
      capacity: { contextTokens, parallel: schedule.parallel },
      numerics: { kvCacheType: 'f16', isDeterministic: false },
      wishes,
      speculation,
      verifyRate,
      draw: () => (bits() >>> 0) / 2 ** 32,
      workersExpected,
    };
  }

  #observer(): Observer {
    const tell = logObserver(this.journal.logger(orchestratorHost));
    return (event) => {
      if (event.kind === 'numbersApart') this.journal.violate(event.name, `is accused: ${event.words}`);
      if (event.kind === 'stepDone') this.#steps += 1;
      else tell(event);
    };
  }
}

const profileOf = ({ layerCurve, outputCurve }: FakeMachine): PlannerMember['profile'] => ({
  layerCurve,
  outputCurve,
  attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
});
