import { join as pathJoin } from 'node:path';
import { type Address, type Logger, silentLogger, systemClock, toButterflyError } from '@butterfly/common';
import {
  CertificateMembership,
  CredentialFiles,
  type Membership,
  parseJoinToken,
  plainMembership,
} from '@butterfly/identity';
import { checkInsecure, managements } from 'butterfly/process';
import type { Environment } from '../environment.js';
import { dataDirectoryOf } from './data-directory.js';
import { givenToken, type TokenFlags } from './join-token.js';

/** What the command line says of how a worker proves itself. */
export interface MembershipFlags extends TokenFlags {
  readonly insecure?: 'loopback' | 'anywhere';
  readonly dataDir?: string;
}

interface MembershipContext {
  /** Of the worker. */
  readonly name: string;
  /** The orchestrator. */
  readonly join: Address;
  readonly environment: Environment;
  readonly log: Logger;
}

/**
 * How a worker proves itself: by a certificate, kept for the next start unless a server that starts it brings a token each time.
 * @throws ButterflyError CONFIG_INVALID for a token that is none, or for --insecure to another machine
 */
export async function membershipOf(
  flags: MembershipFlags,
  { name, join, environment, log }: MembershipContext,
): Promise<Membership> {
  const token = await givenToken(flags, environment);
  if (flags.insecure !== undefined) {
    // Whoever started it has said so.
    const isManaged = environment.BUTTERFLY_MANAGED !== undefined;
    checkInsecure(join.host, flags.insecure === 'anywhere', isManaged ? silentLogger : log);
    return plainMembership(token ?? null);
  }
  const isOfServer = environment.BUTTERFLY_MANAGED === managements.byServer;
  const directory = isOfServer ? null : dataDirectoryOf(flags.dataDir, environment);
  return CertificateMembership.open({
    name,
    joinToken: token === undefined ? null : parseJoinToken(token),
    files: directory === null ? null : new CredentialFiles(pathJoin(directory, 'workers')),
    clock: systemClock,
    onUnkept: (cause) =>
      log.warn(
        { reason: toButterflyError(cause).message },
        'The certificate of this worker cannot be kept, so that its next start needs a token again; choose another folder with --data-dir.',
      ),
  });
}
