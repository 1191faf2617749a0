import { toButterflyError, workerLogObserver } from '@butterfly/common';
import { plainMembership, SharedTokenAdmission } from '@butterfly/identity';
import type { OrchestratorOptions } from '@butterfly/orchestrator';
import type { SimulatedHost, SimulatedNetwork } from '@butterfly/testkit';
import { Worker } from '@butterfly/worker';
import { FakeMachine } from './fake-machine.js';
import type { Journal } from './journal.js';
import type { WorkerPlan } from './schedule.js';

export const orchestratorHost = 'orchestrator';
const clusterPort = 7600;
const clusterToken = 'the token of the simulation';

/** Where workers of a simulation join. */
export const joinsAt = ({
  transport,
}: SimulatedHost): Pick<OrchestratorOptions, 'host' | 'port' | 'admission' | 'transport'> => ({
  host: '0.0.0.0',
  port: clusterPort,
  admission: new SharedTokenAdmission(clusterToken),
  transport,
});

/** How long a supervisor waits before it starts a worker again that gave up. */
const restartMs = 1_000;

/** One process from its start to its end. */
interface Life {
  readonly host: SimulatedHost;
  readonly machine: FakeMachine;
  worker: Worker | null;
  /** It left in order. */
  isOver: boolean;
}

/** A machine on which a supervisor keeps a real worker running, until it is told goodbye or the machine is off. */
export class SimulatedWorker {
  #life: Life | null = null;
  #isStopping = false;

  constructor(
    readonly plan: WorkerPlan,
    private readonly network: SimulatedNetwork,
    private readonly journal: Journal,
  ) {}

  get name(): string {
    return this.plan.name;
  }

  /** Whether its process runs, welcomed or not. */
  get isRunning(): boolean {
    return this.#life !== null && this.#life.host.isAlive && !this.#life.isOver;
  }

  /** Null while it is off. */
  get machine(): FakeMachine | null {
    return this.isRunning ? (this.#life?.machine ?? null) : null;
  }

  /** Does nothing while it runs. */
  start(): void {
    if (this.isRunning || this.#isStopping) return;
    const { name, traits } = this.plan;
    const host = this.network.host(name);
    const violate = (what: string): void => this.journal.violate(name, what);
    const life: Life = {
      host,
      machine: new FakeMachine(traits, host.clock, violate),
      worker: null,
      isOver: false,
    };
    this.#life = life;
    this.journal.note(name, 'starts');
    void this.#supervise(life);
  }

  kill(): void {
    if (!this.isRunning) return;
    this.journal.note(this.name, 'is killed');
    this.#life?.host.kill();
  }

  /** The process stands still until the returned function is called. */
  pause(): () => void {
    const host = this.#life?.host;
    this.journal.note(this.name, 'is paused');
    host?.pause();
    return () => {
      this.journal.note(this.name, 'goes on');
      host?.resume();
    };
  }

  /** Ends the worker in order; resolves when all that it held is given back. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    if (!this.isRunning) return;
    await this.#life?.worker?.stop();
  }

  async #supervise(life: Life): Promise<void> {
    const { name } = this.plan;
    while (!this.#isStopping) {
      try {
        life.worker = await this.#join(life);
        const error = await life.worker.closed;
        this.journal.note(name, `ended: ${error ? `${error.code} ${error.message}` : 'in order'}`);
        if (life.machine.stagesHeld > 0)
          this.journal.violate(name, `ended with ${life.machine.stagesHeld} stages that are not disposed`);
        if (!error) break;
      } catch (thrown) {
        const { code, message } = toButterflyError(thrown);
        this.journal.note(name, `cannot join: ${code} ${message}`);
      }
      life.worker = null;
      await life.machine.sleep(restartMs);
    }
    life.isOver = true;
  }

  #join({ host, machine }: Life): Promise<Worker> {
    const { name, traits } = this.plan;
    return Worker.start({
      join: { host: orchestratorHost, port: clusterPort },
      membership: plainMembership(clusterToken, host.transport),
      identity: {
        name,
        machineId: name,
        butterflyVersion: '0.1.0',
        ggmlVersion: '0',
        cpuVariant: 'simulated',
        cpuFeatures: [],
        platform: 'linux',
        arch: 'x64',
        threads: 1,
        memoryBytes: traits.memoryBytes,
      },
      rejoins: true,
      remoteOnly: true,
      stages: machine.stages,
      profiler: machine.profiler,
      clock: host.clock,
      observe: workerLogObserver(this.journal.logger(name)),
    });
  }
}
