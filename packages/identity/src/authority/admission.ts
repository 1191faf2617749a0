import { ButterflyError, secretsEqual } from '@butterfly/common';
import type { IncomingStream, PeerIdentity } from '@butterfly/wire';
import { type JoinToken, parseJoinToken } from '../join-token.js';
import type { ClusterAuthority, IssuedCertificate } from './cluster-authority.js';
import type { JoinTokens } from './join-tokens.js';
import type { Revocations } from './revocations.js';

/** Who says hello: what its link proves, and what it says itself. */
export interface Candidate extends Pick<IncomingStream, 'identity' | 'distrust'> {
  readonly token: string | null;
}

/** What a stranger shows to become a member. */
export interface Enrolment {
  readonly token: string;
  /** SPKI in PEM. */
  readonly publicKey: string;
}

/** A certificate, with what it takes to check others. */
export interface EnrolledCertificate extends IssuedCertificate {
  /** PEM. */
  readonly authority: string;
}

/** Who may join a cluster, and as whom. */
export interface Admission {
  /**
   * Decides about a worker that says hello; gives who it is proved to be, or null where nothing proves that.
   * @throws ButterflyError JOIN_REFUSED
   */
  admit(candidate: Candidate): PeerIdentity | null;
  /** Makes a stranger a member. @throws ButterflyError JOIN_REFUSED */
  enrol(enrolment: Enrolment): Promise<EnrolledCertificate>;
  /** A new certificate for a member, before the old one ends. @throws ButterflyError JOIN_REFUSED */
  renew(member: PeerIdentity, publicKey: string): Promise<EnrolledCertificate>;
  /** From now on it is a member no more. */
  revoke(member: PeerIdentity): Promise<void>;
  /** Members that were revoked and still have a certificate that holds. */
  readonly revoked: readonly string[];
}

/** Certificates of the cluster's own authority, which new workers get for a join token. */
export class CertificateAdmission implements Admission {
  constructor(
    private readonly authority: ClusterAuthority,
    /** Those of any are good. */
    private readonly tokens: readonly JoinTokens[],
    private readonly revocations: Revocations,
  ) {}

  get revoked(): readonly string[] {
    return this.revocations.ids;
  }

  admit({ identity, distrust }: Candidate): PeerIdentity {
    if (distrust !== undefined)
      throw new ButterflyError('JOIN_REFUSED', `This worker is not trusted: ${distrust}.`);
    if (!identity)
      throw new ButterflyError(
        'JOIN_REFUSED',
        'A worker joins with a certificate, for which it asks with a join token; pass one with --token.',
      );
    if (this.revocations.has(identity.id))
      throw new ButterflyError('JOIN_REFUSED', 'The certificate of this worker was revoked.');
    return identity;
  }

  async enrol({ token: text, publicKey }: Enrolment): Promise<EnrolledCertificate> {
    const token = parseJoinToken(text);
    await this.#spend(token);
    return this.#issued(await this.authority.issue(publicKey));
  }

  /** With those of the last ones saying what is wrong with it, since those of this start never end. */
  async #spend(token: JoinToken): Promise<void> {
    let refused: unknown = null;
    for (const tokens of this.tokens) {
      try {
        await tokens.spend(token);
        return;
      } catch (error) {
        refused = error;
      }
    }
    throw refused;
  }

  async renew(member: PeerIdentity, publicKey: string): Promise<EnrolledCertificate> {
    this.admit({ identity: member, token: null });
    return this.#issued(await this.authority.issue(publicKey, member.id));
  }

  revoke(member: PeerIdentity): Promise<void> {
    return this.revocations.add(member);
  }

  #issued(issued: IssuedCertificate): EnrolledCertificate {
    return { ...issued, authority: this.authority.certificate };
  }
}

/** One secret that all share, over links that prove and hide nothing: for `--insecure` alone. */
export class SharedTokenAdmission implements Admission {
  readonly revoked = [];

  /** @param token null lets everybody in who can reach the port */
  constructor(private readonly token: string | null) {}

  admit({ token }: Candidate): null {
    if (this.token === null || secretsEqual(this.token, token ?? '')) return null;
    throw new ButterflyError(
      'JOIN_REFUSED',
      'The join token is missing or wrong; pass the one of the orchestrator with --token.',
    );
  }

  enrol(): Promise<never> {
    return Promise.reject(noCertificates());
  }

  renew(): Promise<never> {
    return Promise.reject(noCertificates());
  }

  revoke(): Promise<never> {
    return Promise.reject(noCertificates());
  }
}

function noCertificates(): ButterflyError {
  return new ButterflyError(
    'JOIN_REFUSED',
    'This orchestrator runs with --insecure and has no certificates; start the worker with --insecure too.',
  );
}
