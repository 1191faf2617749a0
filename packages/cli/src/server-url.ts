import { ButterflyError } from '@butterfly/common';

export const defaultServerUrl = 'http://127.0.0.1:8080';

/** Where a server is asked. @throws ButterflyError CONFIG_INVALID for what is no URL of a server */
export function serverOrigin(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed?.protocol === 'http:' || parsed?.protocol === 'https:') return parsed.origin;
  throw new ButterflyError('CONFIG_INVALID', `"${url}" is no URL of a server; write ${defaultServerUrl}.`);
}
