import type { ControllerEvent, Joining } from '@butterfly/control';

/** A replica as its workers come and go. */
export interface TransferReplica {
  /** In force or on its way; null without one. */
  readonly plan: object | null;
  /** Gives why the worker stays, if it must. */
  drain(workerId: string): Error | null;
  /** Whether a plan in force, or on its way to be, has a part for the worker. */
  isUsing(workerId: string): boolean;
  /** What workers hold, or were told to load. */
  readonly holdings: { shardsOf(workerId: string): readonly string[] };
  handle(event: ControllerEvent): void;
}

/** A worker that is to go from one replica to another. */
interface Move<L extends TransferReplica> {
  readonly workerId: string;
  readonly from: L;
  readonly to: L;
}

interface Transfer<L extends TransferReplica> {
  readonly from: L;
  readonly to: L;
  /** Whether no plan of the replica that it leaves has a part for it. */
  isEmpty: boolean;
}

/**
 * Workers on their way from one replica to another. Each is emptied first as for a goodbye, so that the replica that it leaves
 * goes on; those that go to the same replica arrive together, so that it makes one plan for all of them.
 */
export class ReplicaTransfers<L extends TransferReplica> {
  readonly #transfers = new Map<string, Transfer<L>>();

  /** @param joiningOf what a worker brings with it; null for one that is gone */
  constructor(private readonly joiningOf: (workerId: string) => Joining | null) {}

  get isBusy(): boolean {
    return this.#transfers.size > 0;
  }

  /**
   * One that its replica cannot go without stays. Those without a part go first, and are kept out of the plans that are made
   * when the others are emptied.
   */
  begin(moves: readonly Move<L>[]): void {
    const idleFirst = [...moves].sort((a, b) => Number(isUsed(a)) - Number(isUsed(b)));
    for (const move of idleFirst) {
      const { workerId, from, to } = move;
      const isEmpty = !isUsed(move);
      this.#transfers.set(workerId, { from, to, isEmpty });
      // A replica without a plan has none to change, and would want to keep whoever it can get.
      const stays = from.plan !== null && from.drain(workerId) !== null;
      if (stays) this.#transfers.delete(workerId);
    }
  }

  /** A worker is empty; false when it is not on its way anywhere. */
  emptied(workerId: string): boolean {
    const transfer = this.#transfers.get(workerId);
    if (transfer) transfer.isEmpty = true;
    return transfer !== undefined;
  }

  /** It goes nowhere any more; true when it is empty. */
  cancel(workerId: string): boolean {
    const transfer = this.#transfers.get(workerId);
    this.#transfers.delete(workerId);
    return transfer?.isEmpty ?? false;
  }

  /** Lets those arrive that nobody else has to be waited for. */
  settle(onArrived: (workerId: string, replica: L) => void): void {
    const all = [...this.#transfers];
    for (const to of new Set(all.map(([, transfer]) => transfer.to))) {
      const arriving = all.filter(([, transfer]) => transfer.to === to);
      if (arriving.some(([, { isEmpty }]) => !isEmpty)) continue;
      const joining = arriving.flatMap(([workerId, { from }]): Joining[] => {
        this.#transfers.delete(workerId);
        const shards = from.holdings.shardsOf(workerId);
        from.handle({ kind: 'left', workerId, isOrderly: true });
        onArrived(workerId, to);
        const each = this.joiningOf(workerId);
        // What it still loads takes memory too, until its new replica wants it or lets it go.
        return each ? [{ ...each, heldShards: [...new Set([...each.heldShards, ...shards])] }] : [];
      });
      to.handle({ kind: 'gathered', joining });
    }
  }
}

function isUsed({ workerId, from }: Move<TransferReplica>): boolean {
  return from.isUsing(workerId);
}
