import { type Clock, type Observer, systemClock } from '@butterfly/common';
import { CertificateMembership, openSecurity, parseJoinToken } from '@butterfly/identity';
import { type Connection, encodeControl } from '@butterfly/wire';
import { Fleet } from '../fleet/fleet.js';
import { identityOf, Party } from './cluster.js';

const host = '127.0.0.1';
const none = (): void => undefined;

/** A worker of the fleet, as far as a test speaks for it. */
export interface Guest {
  readonly membership: CertificateMembership;
  readonly connection: Connection;
  readonly party: Party;
}

/** For tests only: a real fleet whose workers join over TLS. */
export class SecureFleet implements AsyncDisposable {
  readonly #connections: Connection[] = [];

  private constructor(
    readonly fleet: Fleet,
    private readonly token: string,
  ) {}

  /** @param workerLifeMs of certificates */
  static async open(
    clock: Clock,
    { workerLifeMs = 3_600_000, observe = none }: { workerLifeMs?: number; observe?: Observer } = {},
  ): Promise<SecureFleet> {
    const security = { kind: 'certificates', directory: null, token: undefined, workerLifeMs } as const;
    const { admission, transport, token } = await openSecurity(security);
    const fleet = new Fleet({
      ...{ host, port: 0, channels: () => [], clock, observe },
      admission,
      transport,
    });
    await fleet.open({ onWelcome: none, onMessage: none, onFrame: none, onLeft: none });
    return new SecureFleet(fleet, token);
  }

  get port(): number {
    return this.fleet.port;
  }

  memberOf(workerId: string): string {
    return this.fleet.workers.get(workerId)?.member?.id ?? '';
  }

  /** A worker that has joined, as far as its hello. */
  async join(name: string): Promise<Guest> {
    const membership = await this.enrol(name);
    const guest = await this.knock(membership, name);
    await guest.party.next('welcome');
    return guest;
  }

  /** One that has its certificate. */
  async enrol(name: string): Promise<CertificateMembership> {
    const joinToken = parseJoinToken(this.token);
    const options = { files: null, clock: systemClock, onUnkept: none };
    const membership = await CertificateMembership.open({ name, joinToken, ...options });
    await membership.enrol({ host, port: this.port });
    return membership;
  }

  /** One that dials with its certificate, and says hello. */
  async knock(membership: CertificateMembership, name: string): Promise<Guest> {
    const party = new Party();
    const peer = { role: 'orchestrator' } as const;
    const { handlers } = party;
    const connection = await membership.transport.dial({ host, port: this.port, peer, handlers });
    this.#connections.push(connection);
    connection.send(encodeControl({ kind: 'hello', token: null, worker: identityOf(name) }));
    return { membership, connection, party };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
    await this.fleet.close();
  }
}
