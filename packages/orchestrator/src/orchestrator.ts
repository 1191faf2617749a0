import { ButterflyError, type Clock, type Observer, deadlines } from '@butterfly/common';
import type { Admission } from '@butterfly/identity';
import type { Transport } from '@butterfly/wire';
import { Cluster } from './cluster.js';
import { describeBare } from './cluster-description.js';
import { DeployedModel, type ModelOptions } from './deployed-model.js';
import type { ClusterDescription, ClusterView } from './view/cluster-view.js';

export interface OrchestratorOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Decides who may join. */
  readonly admission: Admission;
  /** Over which workers join; plain sockets, unless certificates or a simulation say otherwise. */
  readonly transport?: Transport | undefined;
  readonly clock: Clock;
  /** Hears what happens. */
  readonly observe: Observer;
}

/** The workers of a cluster, and the models that are served on them. */
export class Orchestrator implements ClusterView {
  /** By name, in the order in which they were deployed. */
  readonly #models = new Map<string, DeployedModel>();

  private constructor(
    private readonly options: OrchestratorOptions,
    private readonly cluster: Cluster,
  ) {}

  /** Listens for workers. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  static async start(options: OrchestratorOptions): Promise<Orchestrator> {
    return new Orchestrator(options, await Cluster.start(options));
  }

  get clusterPort(): number {
    return this.cluster.port;
  }

  /** How many workers are here. */
  get workers(): number {
    return this.cluster.workers().length;
  }

  get models(): readonly DeployedModel[] {
    return [...this.#models.values()];
  }

  /**
   * Serves a model from now on; it loads while this returns.
   * @throws ButterflyError CONFIG_INVALID for an arena that cannot be scheduled, or a name that another model has; QUEUE_FULL where
   * there are too many
   */
  deploy(options: ModelOptions): DeployedModel {
    const model = new DeployedModel(this.cluster, options, this.options);
    this.#models.set(model.id, model);
    return model;
  }

  /** Serves a model no more: what runs may end, for at most `timeoutMs`. */
  async withdraw(model: DeployedModel, timeoutMs: number = deadlines.drainMs): Promise<void> {
    await model.stop(timeoutMs);
    if (this.#models.get(model.id) === model) this.#models.delete(model.id);
  }

  /** @throws ButterflyError NOT_FOUND for a model that is not loaded */
  describe(modelId?: string): ClusterDescription {
    const model = modelId === undefined ? this.models[0] : this.#models.get(modelId);
    if (model) return model.describe();
    if (modelId === undefined) return describeBare(this.cluster);
    throw new ButterflyError('NOT_FOUND', `The model "${modelId}" is not loaded; see butterfly ps.`);
  }

  drain(workerId: string): void {
    this.cluster.drain(workerId);
  }

  revoke(workerId: string): Promise<void> {
    return this.cluster.revoke(workerId);
  }

  /** Takes no more requests, finishes what runs (for at most `timeoutMs`), then closes workers and sockets. */
  async stop(timeoutMs: number = deadlines.drainMs): Promise<void> {
    await Promise.all(this.models.map(({ engine }) => engine.drain(timeoutMs)));
    await this.cluster.close();
  }
}
