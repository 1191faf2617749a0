import { X509Certificate } from 'node:crypto';
import { type Address, ButterflyError, type Clock } from '@butterfly/common';
import type { ControlMessageOf } from '@butterfly/wire';
import { type JoinToken, formatJoinToken } from '../join-token.js';
import { authorityOf, fingerprintOf } from '../tls/authority-of.js';
import type { Credentials } from '../tls/credentials.js';
import { newKeys } from '../tls/keys.js';
import { TlsTransport } from '../tls/tls-transport.js';
import type { CredentialFiles } from './credential-files.js';
import { enrolAt } from './enrolment.js';
import type { Membership } from './membership.js';

export interface MembershipOptions {
  /** As people call the worker: its certificate is kept under that. */
  readonly name: string;
  /** Null for a worker that joined before. */
  readonly joinToken: JoinToken | null;
  /** Null keeps the certificate in memory alone. */
  readonly files: CredentialFiles | null;
  readonly clock: Clock;
  /** The certificate could not be kept, so that the next start needs a token again. */
  readonly onUnkept: (cause: unknown) => void;
}

/** A certificate that ends so soon is as good as none. */
const restMinMs = 60_000;
/** The share of the time that it still holds after which it is renewed. */
const renewalShare = 0.5;
/** A renewal that failed is tried again, not at once. */
const renewalPauseMs = 1_000;

/** Membership by a certificate, which a join token gets, which is renewed in time and kept for the next start. */
export class CertificateMembership implements Membership {
  readonly token = null;
  readonly transport = new TlsTransport({ credentials: null });
  #credentials: Credentials | null = null;
  /** Of a renewal that is under way. */
  #nextPrivateKey: string | null = null;

  private constructor(private readonly options: MembershipOptions) {}

  static async open(options: MembershipOptions): Promise<CertificateMembership> {
    const membership = new CertificateMembership(options);
    const { files, name, joinToken } = options;
    const kept = (await files?.find(name, joinToken?.fingerprint ?? null)) ?? null;
    if (kept) membership.#use(kept);
    return membership;
  }

  async enrol(orchestrator: Address): Promise<void> {
    if (this.#restMs() > restMinMs) return;
    const { joinToken, clock } = this.options;
    if (!joinToken)
      throw new ButterflyError(
        'JOIN_REFUSED',
        'This worker has no certificate of the cluster, or one that has expired. Give it a join token, as "butterfly serve" prints and "butterfly token create" makes one, with --token, --token-file or BUTTERFLY_TOKEN.',
      );
    const authority = await authorityOf(orchestrator, joinToken.fingerprint, clock);
    const { publicKey, privateKey } = newKeys();
    const { certificate } = await enrolAt({
      orchestrator,
      authority,
      enrol: { kind: 'enrol', token: formatJoinToken(joinToken), publicKey },
      clock,
    });
    await this.#take({ authority, certificate, privateKey });
  }

  renewalDueMs(): number | null {
    return this.#credentials && Math.max(renewalPauseMs, this.#restMs() * renewalShare);
  }

  renewal(): ControlMessageOf<'renew'> {
    const { publicKey, privateKey } = newKeys();
    this.#nextPrivateKey = privateKey;
    return { kind: 'renew', publicKey };
  }

  async renewed({ certificate, authority }: ControlMessageOf<'renewed'>): Promise<void> {
    const privateKey = this.#nextPrivateKey;
    this.#nextPrivateKey = null;
    const isAsked = privateKey !== null && this.#credentials?.authority === authority;
    if (!isAsked) throw new ButterflyError('PROTOCOL_INVALID', 'A certificate came that was not asked for.');
    await this.#take({ authority, certificate, privateKey });
  }

  revoked(members: readonly string[]): void {
    this.transport.revoke(members);
  }

  /** How long the certificate still holds. */
  #restMs(): number {
    if (!this.#credentials) return 0;
    const { joinToken } = this.options;
    const { authority, certificate } = this.#credentials;
    // Of another cluster than the one to join.
    if (joinToken && !fingerprintOf(authority).equals(joinToken.fingerprint)) return 0;
    return Date.parse(new X509Certificate(certificate).validTo) - Date.now();
  }

  async #take(credentials: Credentials): Promise<void> {
    this.#use(credentials);
    const { files, name, onUnkept } = this.options;
    await files?.keep(name, credentials).catch(onUnkept);
  }

  #use(credentials: Credentials): void {
    this.#credentials = credentials;
    this.transport.use(credentials);
  }
}
