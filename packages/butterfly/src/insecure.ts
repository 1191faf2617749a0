import { ButterflyError, isLoopbackHost, type Logger } from '@butterfly/common';

/** Says loudly what a cluster without certificates gives away. @throws ButterflyError CONFIG_INVALID where it could be reached from elsewhere */
export function checkInsecure(host: string, isForced: boolean, log: Logger): void {
  if (!isForced && !isLoopbackHost(host))
    throw new ButterflyError(
      'CONFIG_INVALID',
      `--insecure sends prompts, answers, weights and the token in the clear, to whoever listens, so it refuses ${host}. Leave --insecure out, or say "--insecure anywhere" on a network that you trust as a whole.`,
      { param: 'insecure' },
    );
  log.warn(
    {},
    'The cluster is INSECURE: nothing is encrypted, and whoever reads the token on its way may join.',
  );
}
