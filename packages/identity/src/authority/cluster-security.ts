import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ButterflyError } from '@butterfly/common';
import { tcpTransport, type Transport } from '@butterfly/wire';
import { formatJoinToken, parseJoinToken } from '../join-token.js';
import { TlsTransport } from '../tls/tls-transport.js';
import { type Admission, CertificateAdmission, SharedTokenAdmission } from './admission.js';
import { ClusterAuthority } from './cluster-authority.js';
import { type JoinTokens, PassingTokens, type TokenWishes } from './join-tokens.js';
import { Revocations } from './revocations.js';
import { TokenFiles } from './token-files.js';

/** How workers prove that they belong to the cluster. */
export type ClusterSecurity =
  | {
      readonly kind: 'certificates';
      /** Where the authority and its tokens are kept; null for a cluster that ends with this process. */
      readonly directory: string | null;
      /** One that was made before, to be shown again; undefined has one made that ends with this process. */
      readonly token: string | undefined;
      /** How long certificates of workers hold, in milliseconds; by default a week. */
      readonly workerLifeMs?: number;
    }
  /** For a trusted bench: nothing is encrypted, and a shared secret is all that workers show. */
  | { readonly kind: 'insecure'; readonly token: string | undefined };

/** A token, and what may be done with it. */
export interface MadeToken {
  readonly token: string;
  /** By the clock of the system; null for ever. */
  readonly expiresAtMs: number | null;
  /** How many workers may join with it; null for any number. */
  readonly usesMax: number | null;
}

/** What comes of it. */
export interface OpenedSecurity {
  readonly admission: Admission;
  readonly transport: Transport;
  /** With which workers join. */
  readonly token: string;
  /**
   * Makes another one, which ends with this process. Without certificates there is but one, for ever.
   * @throws ButterflyError CONFIG_INVALID when there are too many
   */
  readonly makeToken: (wishes: TokenWishes) => Promise<MadeToken>;
}

/** Where the authority of clusters is kept within the data folder of a user. */
export function authorityDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'cluster');
}

/** @throws ButterflyError CONFIG_INVALID for a folder that cannot be used, or a token of another cluster */
export async function openSecurity(security: ClusterSecurity): Promise<OpenedSecurity> {
  if (security.kind === 'insecure') {
    const token = security.token ?? randomBytes(16).toString('hex');
    const makeToken = (): Promise<MadeToken> => Promise.resolve({ token, expiresAtMs: null, usesMax: null });
    return { admission: new SharedTokenAdmission(token), transport: tcpTransport, token, makeToken };
  }
  const { directory } = security;
  const authority = await (directory === null
    ? ClusterAuthority.passing(security)
    : ClusterAuthority.open(directory, security));
  const { passing, all } = tokensOf(authority, directory);
  const token = security.token ?? formatJoinToken(await passing.create(tokenOfThisStart));
  if (security.token !== undefined) await checkOwn(security.token, all);
  const revocations = await Revocations.open(directory === null ? null : join(directory, 'revoked'));
  const credentials = await authority.orchestratorCredentials();
  return {
    admission: new CertificateAdmission(authority, all, revocations),
    transport: new TlsTransport({ credentials, admitsStrangers: true }),
    token,
    makeToken: async (wishes) => ({
      token: formatJoinToken(await passing.create(wishes)),
      expiresAtMs: wishes.lifeMs === null ? null : Date.now() + wishes.lifeMs,
      usesMax: wishes.usesMax,
    }),
  };
}

/** The tokens that are kept beside an authority. */
export async function keptTokens(directory: string): Promise<JoinTokens> {
  const authority = await ClusterAuthority.open(directory);
  return new TokenFiles(join(directory, 'tokens'), authority.fingerprint);
}

const tokenOfThisStart = { lifeMs: null, usesMax: null, note: 'of this start' };

function tokensOf(
  { fingerprint }: ClusterAuthority,
  directory: string | null,
): { readonly passing: JoinTokens; readonly all: readonly JoinTokens[] } {
  const passing = new PassingTokens(fingerprint);
  return {
    passing,
    all: directory === null ? [passing] : [passing, new TokenFiles(join(directory, 'tokens'), fingerprint)],
  };
}

async function checkOwn(token: string, all: readonly JoinTokens[]): Promise<void> {
  const parsed = parseJoinToken(token);
  for (const tokens of all) if (await tokens.holds(parsed)) return;
  throw new ButterflyError(
    'CONFIG_INVALID',
    'The given token is none that the authority of this cluster made, or it has expired. Leave it out and one is made, or make one that stays with "butterfly token create".',
    { param: 'token' },
  );
}
