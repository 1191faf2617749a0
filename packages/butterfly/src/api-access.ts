import type { ApiAccess } from '@butterfly/api';
import { ButterflyError, isLoopbackHost, systemClock } from '@butterfly/common';
import { KeyFiles, KeyRing } from '@butterfly/identity';

export interface AccessWishes {
  /** Where the API listens. */
  readonly host: string;
  /** Whether clients need a key; undefined for where others than this machine can reach it. */
  readonly isKeyRequired: boolean | undefined;
  /** Where keys are kept; null for a user without a home. */
  readonly keysDirectory: string | null;
}

/** Who may ask there. @throws ButterflyError CONFIG_INVALID where nobody could, since a key is needed and there is none */
export async function openApiAccess({
  host,
  isKeyRequired = !isLoopbackHost(host),
  keysDirectory,
}: AccessWishes): Promise<ApiAccess> {
  const files = keysDirectory === null ? null : new KeyFiles(keysDirectory);
  if (isKeyRequired && !(await hasKeys(files)))
    throw new ButterflyError(
      'CONFIG_INVALID',
      `Clients need a key where the API listens on ${host}, and there is none. Make one with "butterfly key create", or start with "butterfly serve --no-require-key" on a network that you trust as a whole.`,
      { param: 'host' },
    );
  return { keys: files && new KeyRing(files, systemClock), isKeyRequired };
}

async function hasKeys(files: KeyFiles | null): Promise<boolean> {
  const nowMs = Date.now();
  const keys = (await files?.list()) ?? [];
  return keys.some(({ expiresAtMs }) => expiresAtMs === null || expiresAtMs > nowMs);
}
