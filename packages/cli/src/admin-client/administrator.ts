import type { Command } from 'commander';
import type { Environment } from '../environment.js';
import { apiKeyOption } from '../options.js';
import { defaultServerUrl } from '../server-url.js';
import { ClusterClient } from './cluster-client.js';

/** How a command shows that it may administrate a server elsewhere. */
export interface SecretFlags {
  /** API key. */
  readonly key?: string;
  /** Join token. */
  readonly token?: string;
}

/** Which server a command administrates. */
export interface ServerFlags extends SecretFlags {
  readonly url: string;
}

/** Adds the options of `SecretFlags`. */
export function addSecretOptions(command: Command): Command {
  return command
    .addOption(apiKeyOption())
    .option(
      '--token <text>',
      'join token, which a server on another machine takes too (default: BUTTERFLY_TOKEN)',
    );
}

/** Adds the options of `ServerFlags`. */
export function addServerOptions(command: Command): Command {
  return addSecretOptions(command.option('--url <url>', 'address of the server', defaultServerUrl));
}

/**
 * With what the flags give, else what the environment does, a key before a token.
 * @throws ButterflyError CONFIG_INVALID for what is no URL of a server
 */
export function administratorOf({ url, key, token }: ServerFlags, environment: Environment): ClusterClient {
  const secret = key ?? token ?? environment.BUTTERFLY_API_KEY ?? environment.BUTTERFLY_TOKEN ?? null;
  return new ClusterClient(url, secret);
}
