import type { Environment } from '../environment.js';

/** How a command shows that it may administrate a server elsewhere. */
export interface SecretFlags {
  /** API key. */
  readonly key?: string;
  /** Join token. */
  readonly token?: string;
}

/** What the flags give, else what the environment does, a key before a token; null for neither. */
export function administratorSecret({ key, token }: SecretFlags, environment: Environment): string | null {
  return key ?? token ?? environment.BUTTERFLY_API_KEY ?? environment.BUTTERFLY_TOKEN ?? null;
}
