import { ButterflyError, type Clock, isErrorCode, type Observer } from '@butterfly/common';
import {
  type Claim,
  describeReplicas,
  type EpochNumbers,
  replicasInUse,
  type Member,
  SharedByControllers,
} from '@butterfly/control';
import type { Plan } from '@butterfly/planning';
import type { ControlMessage, Frame, StepResult } from '@butterfly/wire';
import type { ModelWorkers } from '../fleet/model-workers.js';
import type { FleetWorker } from '../fleet/fleet-worker.js';
import { joiningOf, type ModelWorker } from '../fleet/model-worker.js';
import type { LinkProber } from '../links/link-prober.js';
import type { LinkTable } from '../links/link-table.js';
import { shardIds } from './assignments.js';
import { watchedPlanner } from './cluster-planner.js';
import type { DeploymentSettings, LinkOf } from './deployment-types.js';
import { ReplicaAssigner } from './replica-assigner.js';
import { ReplicaTransfers } from './replica-transfers.js';
import { Replica } from './replica.js';
import { type Taken, takenBy } from './memory-room.js';
import { pacedPlanner, Slowness } from './slowness.js';
import { Distrust } from '../verification/distrust.js';
import type { Disagreement } from '../verification/verification.js';

export interface DeploymentOptions extends DeploymentSettings {
  /** As this model sees it. */
  readonly fleet: ModelWorkers;
  /** Of all models of the cluster. */
  readonly epochs: EpochNumbers;
  /** What the other models leave of the memory of a worker. */
  readonly room: (member: Member) => Member;
  /** A worker has no part in any plan, as was wished. */
  readonly onEmptied: (workerId: string) => void;
  /** A worker that was to be emptied stays, because the others could not go without it. */
  readonly onKept: (workerId: string) => void;
  readonly links: LinkTable;
  readonly prober: LinkProber;
  readonly clock: Clock;
  readonly observe: Observer;
}

/**
 * One model with its settings, its planner and the replicas of its pipeline: which workers belong to which, and what
 * becomes of them there.
 */
export class Deployment {
  /** As many as there may be replicas; those that there are no workers for are empty. */
  readonly replicas: readonly Replica[];
  /** By worker; those that have not measured themselves are in none. */
  readonly #replicaOf = new Map<string, Replica>();
  readonly #slowness = new Slowness();
  readonly #assigner: ReplicaAssigner;
  readonly #transfers: ReplicaTransfers<Replica>;
  readonly #distrust: Distrust;

  constructor(private readonly options: DeploymentOptions) {
    const { fleet, links, shards, gathering, wishes, observe } = options;
    const { stagesMin, spares, replicasMax } = wishes;
    const planner = pacedPlanner(watchedPlanner(options.planner, observe), this.#slowness);
    const link: LinkOf = (from, to) => links.link(from, to);
    this.#transfers = new ReplicaTransfers<Replica>((workerId) => joiningOf(fleet.workers.get(workerId)));
    this.#assigner = new ReplicaAssigner({
      ...gathering,
      stagesMin,
      split: (members) => planner.split(members, link),
      speedsOf: (groups) => planner.speedsOf(groups, link),
    });
    const shared = new SharedByControllers(options.epochs, options.room);
    this.#distrust = new Distrust(shared.losses, options.clock, observe);
    const config = {
      ...gathering,
      stagesMin,
      spares,
      shared,
      plan: (members: readonly Member[]) => planner.plan(members, link),
      repair: (plan: Plan, substitutes: ReadonlyMap<string, string>, members: readonly Member[]) =>
        planner.repair(plan, substitutes, members, link),
      shardIdOf: shardIds(options.name, shards),
    };
    const replicaOf = (_: unknown, index: number): Replica =>
      new Replica({
        ...options,
        number: index + 1,
        controller: config,
        slowness: this.#slowness,
        onDisagreement: (found) => this.#distrusted(found),
        onEmptied: (workerId) => this.#emptied(workerId),
        onKept: (workerId) => this.#kept(workerId),
      });
    this.replicas = Array.from({ length: replicasMax }, replicaOf);
  }

  get isLive(): boolean {
    return this.replicas.some(({ isLive }) => isLive);
  }

  /** What is waited for, in words for a person. */
  describe(): string {
    return describeReplicas(this.replicas);
  }

  get name(): string {
    return this.options.name;
  }

  get fleet(): ModelWorkers {
    return this.options.fleet;
  }

  get isDeterministic(): boolean {
    return this.options.shards.isDeterministic;
  }

  /** What the shards of this model take of each memory. */
  get taken(): Taken {
    const members = [...this.options.fleet.workers.values()].flatMap(
      (worker) => joiningOf(worker)?.member ?? [],
    );
    return takenBy(members, this.#claims());
  }

  /** Null for a worker that has not measured itself. */
  replicaOf(workerId: string): Replica | null {
    return this.#replicaOf.get(workerId) ?? null;
  }

  /** Why the last plan could not be made or carried out; null when there is a newer one. */
  get trouble(): ButterflyError | null {
    return replicasInUse(this.replicas).find(({ trouble }) => trouble)?.trouble ?? this.#assigner.trouble;
  }

  /** What whoever runs it should know, although it serves. */
  get notes(): string[] {
    const notes = this.replicas.flatMap(({ note, number }) =>
      note === null ? [] : [this.replicas.length > 1 ? `Replica ${number}: ${note}` : note],
    );
    return [...this.options.fleet.notes, ...notes, ...this.#distrust.notes];
  }

  /** A worker takes part from now on, in the replica that it is given to; false when there is nothing for it to bring. */
  join(worker: ModelWorker): boolean {
    const joining = joiningOf(worker);
    if (!joining) return false;
    const states = this.replicas.map((each) => each.look());
    const replica =
      this.replicas[this.#assigner.replicaOf(joining.member, states, this.options.clock.nowMs())];
    if (!replica) return false;
    this.#replicaOf.set(worker.workerId, replica);
    replica.handle({ kind: 'joined', ...joining });
    return true;
  }

  leave(workerId: string, isOrderly: boolean): void {
    this.#transfers.cancel(workerId);
    this.#replicaOf.get(workerId)?.handle({ kind: 'left', workerId, isOrderly });
    this.#replicaOf.delete(workerId);
    this.#slowness.leave(workerId);
  }

  /**
   * Begins to empty a worker while requests go on; it is told goodbye when it is empty. Gives why it stays, if it must, and
   * null else; nothing has changed then. @throws ButterflyError CLUSTER_NOT_READY for a worker that measures itself
   */
  drain({ workerId, identity }: FleetWorker): ButterflyError | null {
    const replica = this.#replicaOf.get(workerId);
    if (!replica)
      throw new ButterflyError('CLUSTER_NOT_READY', `${identity.name} measures itself; try again soon.`);
    const isEmpty = this.#transfers.cancel(workerId);
    const refusal = isEmpty ? null : replica.drain(workerId);
    if (refusal && !this.replicas.some((other) => other !== replica && other.isLive)) return refusal;
    // The replica ends without it, and its requests go on at the others.
    if (refusal) replica.handle({ kind: 'left', workerId, isOrderly: true });
    if (isEmpty || refusal) this.#emptied(workerId);
    return null;
  }

  /** It is to be emptied no more. */
  keep(workerId: string): void {
    this.#transfers.cancel(workerId);
    this.#replicaOf.get(workerId)?.handle({ kind: 'keep', workerId });
  }

  /** What is known of the links between workers has changed, or of the memory that other models leave, in one replica or all. */
  linksChanged(workerId?: string): void {
    const replicas = workerId === undefined ? this.replicas : [this.#replicaOf.get(workerId)];
    for (const replica of replicas) replica?.handle({ kind: 'linksChanged' });
  }

  result(workerId: string, result: StepResult): void {
    this.#replicaOf.get(workerId)?.result(workerId, result);
  }

  /** @throws ButterflyError PROTOCOL_INVALID from a stage that has a straight way */
  relay(workerId: string, frame: Frame): void {
    this.#replicaOf.get(workerId)?.relay(frame, workerId);
  }

  /** What a worker tells of its shards and stages. @throws ButterflyError PROTOCOL_INVALID for anything else */
  handle(worker: ModelWorker, message: ControlMessage): void {
    const { workerId } = worker;
    const replica = this.#replicaOf.get(workerId);
    switch (message.kind) {
      case 'progress':
      case 'prepared':
        replica?.handle({ kind: message.kind, workerId, shardId: message.shardId });
        return;
      case 'unprepared': {
        const error = this.#errorOf(worker, message);
        replica?.handle({ kind: 'unprepared', workerId, shardId: message.shardId, error });
        return;
      }
      case 'constraintReady':
      case 'constraintRefused':
        replica?.constraints.answered(workerId, message);
        return;
      case 'ready':
        replica?.ready(workerId, message.epoch);
        return;
      case 'failed':
        replica?.failed(workerId, message, this.#errorOf(worker, message));
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `A worker does not send "${message.kind}".`);
    }
  }

  tick(): void {
    this.#arrange();
    for (const replica of this.replicas) replica.tick();
  }

  close(): void {
    for (const replica of this.replicas) replica.close();
  }

  /** Two workers came to different numbers: they are left out, and what went into answers is computed anew. */
  #distrusted(found: Disagreement): void {
    const error = this.#distrust.add(found);
    const [{ workerId }, { workerId: verifierId }] = [found.worker, found.verifier];
    // Others may be let in again by that.
    this.linksChanged();
    this.#replicaOf.get(workerId)?.handle({ kind: 'distrusted', workerId, verifierId, error });
  }

  /** A worker has no part in any plan of its replica, as was wished. */
  #emptied(workerId: string): void {
    if (!this.#transfers.emptied(workerId)) this.options.onEmptied(workerId);
  }

  /** Its replica cannot go without it. */
  #kept(workerId: string): void {
    this.#transfers.cancel(workerId);
    this.options.onKept(workerId);
  }

  #claims(): Claim[] {
    return this.replicas.flatMap((replica) => replica.holdings.claims());
  }

  #errorOf(worker: ModelWorker, { code, message }: { code: string; message: string }): ButterflyError {
    const { workerId, identity } = worker;
    this.options.observe({ kind: 'workerFailed', workerId, name: identity.name, code, message });
    return new ButterflyError(isErrorCode(code) ? code : 'INTERNAL', `${identity.name}: ${message}`);
  }

  /** Has workers go to other replicas where that is better. */
  #arrange(): void {
    if (this.replicas.length === 1) return;
    const before: boolean = this.#assigner.isGathered;
    if (!this.#transfers.isBusy) {
      const moves = this.#assigner.arrange(
        this.replicas.map((replica) => replica.look()),
        this.options.clock.nowMs(),
      );
      this.#transfers.begin(
        moves.flatMap(({ workerId, replica }) => this.#moveOf(workerId, this.replicas[replica])),
      );
    }
    this.#transfers.settle((workerId, replica) => this.#replicaOf.set(workerId, replica));
    // Whoever was not moved is where it is to be.
    if (before !== this.#assigner.isGathered) this.replicas[0]?.handle({ kind: 'gathered', joining: [] });
  }

  #moveOf(workerId: string, to: Replica | undefined): Parameters<ReplicaTransfers<Replica>['begin']>[0] {
    const from = this.#replicaOf.get(workerId);
    if (!from || !to) return [];
    this.options.observe({ kind: 'workerMoved', workerId, from: from.number, to: to.number });
    return [{ workerId, from, to }];
  }
}
