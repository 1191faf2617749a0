import { ButterflyError, type Clock, toButterflyError } from '@butterfly/common';
import type { Admission } from '@butterfly/identity';
import { type ControlMessageOf, encodeControl } from '@butterfly/wire';
import type { WorkerRecord } from './fleet-worker.js';

/** The certificates of the workers that are here: renewed while they hold, and the end of who has none any more. */
export class Certificates {
  constructor(
    private readonly admission: Admission,
    private readonly clock: Clock,
    /** By id. */
    private readonly workers: ReadonlyMap<string, WorkerRecord>,
  ) {}

  /** A worker was welcomed: it is cut off when its certificate ends, and hears of those that were revoked. */
  enter(record: WorkerRecord): void {
    this.#await(record);
    if (record.member && this.admission.revoked.length > 0) this.#tell(record);
  }

  /** A worker asks for a new one before its own ends. */
  renew(record: WorkerRecord, { publicKey }: ControlMessageOf<'renew'>): void {
    const { member, connection } = record;
    if (!member)
      throw new ButterflyError('PROTOCOL_INVALID', 'A worker without a certificate has none to renew.');
    this.admission.renew(member, publicKey).then(
      ({ identity, certificate, authority }) => {
        record.member = identity;
        this.#await(record);
        connection.send(encodeControl({ kind: 'renewed', certificate, authority }));
      },
      (thrown: unknown) => connection.fail(toButterflyError(thrown)),
    );
  }

  /** @throws ButterflyError NOT_FOUND; JOIN_REFUSED where there are no certificates */
  async revoke(workerId: string): Promise<void> {
    const record = this.workers.get(workerId);
    if (!record)
      throw new ButterflyError('NOT_FOUND', `There is no worker ${workerId}; see butterfly status.`);
    const { member } = record;
    if (!member)
      throw new ButterflyError(
        'JOIN_REFUSED',
        'This orchestrator runs with --insecure: its workers have no certificates that could be revoked.',
      );
    await this.admission.revoke(member);
    // One certificate may have brought several.
    const gone = [...this.workers.values()].filter((each) => each.member?.id === member.id);
    for (const { connection } of gone)
      connection.fail(new ButterflyError('JOIN_REFUSED', 'The certificate of this worker was revoked.'));
    for (const each of this.workers.values()) if (!gone.includes(each)) this.#tell(each);
  }

  #tell({ connection }: WorkerRecord): void {
    connection.send(encodeControl({ kind: 'revoked', members: [...this.admission.revoked] }));
  }

  #await(record: WorkerRecord): void {
    const { member, connection } = record;
    record.cancelExpiry();
    if (!member) return;
    record.cancelExpiry = this.clock.after(Math.max(0, member.expiresAtMs - Date.now()), () =>
      connection.fail(
        new ButterflyError(
          'JOIN_REFUSED',
          'The certificate of this worker has expired; let it join again with a token.',
        ),
      ),
    );
  }
}
