import { randomBytes, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import type { PeerIdentity } from '@butterfly/wire';
import { newKeys } from '../tls/keys.js';
import { identityIn } from '../peer-identity.js';
import { readIfThere, writeNewPrivate } from '../private-files.js';
import { fingerprintOf } from '../tls/authority-of.js';
import type { Credentials } from '../tls/credentials.js';
import type { AuthorityFiles, Signer } from './certificates.js';

const hourMs = 3_600_000;
/** Short enough that a stolen key is of little use, and long enough for a laptop that stays closed over a holiday. */
export const workerLifeMs = 7 * 24 * hourMs;
/** Ten years: a new authority is a new cluster, which every worker must join again. */
const authorityLifeMs = 3653 * 24 * hourMs;
const fileName = 'authority.pem';

/** A certificate that was made, with whose it is. */
export interface IssuedCertificate {
  readonly identity: PeerIdentity;
  /** PEM. */
  readonly certificate: string;
}

export interface AuthorityOptions {
  /** How long certificates of workers hold; by default `workerLifeMs`. */
  readonly workerLifeMs?: number;
}

/** Makes the certificates of a cluster: of its orchestrators, and of the workers that may join. */
export class ClusterAuthority {
  /** SHA-256 of its certificate, by which new workers know it. */
  readonly fingerprint: Buffer;

  private constructor(
    /** PEM. */
    readonly certificate: string,
    private readonly signer: Signer,
    private readonly lifeMs: number,
  ) {
    this.fingerprint = fingerprintOf(certificate);
  }

  /**
   * The authority that is kept in this folder, made where there is none yet. Its key is readable by this user alone.
   * @throws ButterflyError CONFIG_INVALID for files that are none, or a folder that cannot be written to
   */
  static async open(directory: string, options: AuthorityOptions = {}): Promise<ClusterAuthority> {
    const path = join(directory, fileName);
    try {
      const kept = (await readIfThere(path)) ?? (await keep(path, await ClusterAuthority.#make()));
      return await ClusterAuthority.#of(split(kept), options);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new ButterflyError(
        'CONFIG_INVALID',
        `The authority of the cluster cannot be kept in ${directory} (${why}); choose another folder with --data-dir, or mend this one.`,
        { cause },
      );
    }
  }

  /** One that ends with this process. */
  static async passing(options: AuthorityOptions = {}): Promise<ClusterAuthority> {
    return ClusterAuthority.#of(await ClusterAuthority.#make(), options);
  }

  /** New credentials for an orchestrator, which hold as long as the authority. */
  async orchestratorCredentials(): Promise<Credentials> {
    const { publicKey, privateKey } = newKeys();
    const member = { role: 'orchestrator', id: randomBytes(8).toString('hex') } as const;
    const certificate = await this.signer.sign(member, publicKey, Date.now(), authorityLifeMs);
    return { authority: this.certificate, certificate, privateKey };
  }

  /**
   * A certificate for a worker with this key.
   * @param publicKey of P-256, SPKI in PEM
   * @param id of a worker that is known already; by default it is a new one
   * @throws ButterflyError JOIN_REFUSED for a text that is no such key
   */
  async issue(
    publicKey: string,
    id = `worker-${randomBytes(8).toString('hex')}`,
  ): Promise<IssuedCertificate> {
    const member = { role: 'worker', id } as const;
    const certificate = await this.signer
      .sign(member, publicKey, Date.now(), this.lifeMs)
      .catch((cause: unknown) => {
        throw new ButterflyError('JOIN_REFUSED', 'What a worker sent is no public key.', { cause });
      });
    const identity = identityIn(new X509Certificate(certificate));
    if (!identity) throw new ButterflyError('INTERNAL', `The certificate of ${id} does not say whose it is.`);
    return { identity, certificate };
  }

  static async #make(): Promise<AuthorityFiles> {
    // Loaded by those only that make certificates: it takes a quarter of a second.
    const { makeAuthority } = await import('./certificates.js');
    return makeAuthority(`Butterfly ${randomBytes(4).toString('hex')}`, Date.now(), authorityLifeMs);
  }

  static async #of(files: AuthorityFiles, options: AuthorityOptions): Promise<ClusterAuthority> {
    const { Signer } = await import('./certificates.js');
    return new ClusterAuthority(
      files.certificate,
      await Signer.open(files),
      options.workerLifeMs ?? workerLifeMs,
    );
  }
}

/** Keeps it unless another process has done so meanwhile; gives what is kept. */
async function keep(path: string, { certificate, privateKey }: AuthorityFiles): Promise<string> {
  await writeNewPrivate(path, privateKey + certificate);
  return readFile(path, 'utf8');
}

function split(text: string): AuthorityFiles {
  const at = text.indexOf('-----BEGIN CERTIFICATE-----');
  if (at < 0) throw new Error(`${fileName} has no certificate`);
  return { privateKey: text.slice(0, at), certificate: text.slice(at) };
}
