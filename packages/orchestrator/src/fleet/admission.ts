import { ButterflyError, limits, secretsEqual } from '@butterfly/common';

/** Throws JOIN_REFUSED unless the token is right (compared in constant time) and there is room. */
export function admit(expectedToken: string | null, token: string | null, workers: number): void {
  if (expectedToken !== null && !secretsEqual(expectedToken, token ?? ''))
    throw new ButterflyError(
      'JOIN_REFUSED',
      'The join token is missing or wrong; pass the one of the orchestrator with --token.',
    );
  if (workers >= limits.workersMax)
    throw new ButterflyError('JOIN_REFUSED', `This orchestrator already has ${limits.workersMax} workers.`);
}
