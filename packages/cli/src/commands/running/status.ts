import { setTimeout } from 'node:timers/promises';
import { toButterflyError } from '@butterfly/common';
import type { ClusterDescription } from '@butterfly/orchestrator';
import { Command } from 'commander';
import { addServerOptions, administratorOf, type ServerFlags } from '../../admin-client/administrator.js';
import type { ClusterClient } from '../../admin-client/cluster-client.js';
import { formatCluster } from '../../admin-client/format-cluster.js';
import type { Environment } from '../../environment.js';
import { Screen } from '../../following/screen.js';
import { stopSignal } from '../../signals.js';
import { print, readerGone } from '../../terminal.js';

interface StatusFlags extends ServerFlags {
  readonly json?: boolean;
  readonly watch?: boolean;
}

const examples = `
Examples:
  butterfly status
  BUTTERFLY_TOKEN=... butterfly status --url http://desk:8080
  butterfly status --watch                          until Ctrl-C
  butterfly status --json > workers.json            for butterfly plan --workers-file`;

export function statusCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('status').description(
      'Show the workers of a running server, its plan, and predicted beside measured speed.',
    ),
  )
    .option('--json', 'print JSON')
    .option('--watch', 'show it anew every two seconds, until Ctrl-C')
    .addHelpText('after', examples)
    .action(async ({ json, watch, ...server }: StatusFlags) => {
      const client = administratorOf(server, environment);
      if (watch) return watchCluster(client, json ?? false);
      const cluster = await client.describe();
      print(shown(cluster, json ?? false));
    });
}

const shown = (cluster: ClusterDescription, isJson: boolean): string =>
  isJson ? `${JSON.stringify(cluster, null, 2)}\n` : formatCluster(cluster);

/** A server that does not answer is asked again: it may be starting anew. */
async function watchCluster(client: ClusterClient, isJson: boolean): Promise<void> {
  using screen = new Screen();
  const stop = Promise.race([stopSignal(), readerGone()]).then(() => true);
  let heardMs = Date.now();
  let last = '';
  for (;;) {
    try {
      last = shown(await client.describe(), isJson);
      heardMs = Date.now();
      screen.show(last);
    } catch (thrown) {
      const error = toButterflyError(thrown);
      if (last === '' || error.code === 'ACCESS_DENIED') throw error;
      const silentS = Math.round((Date.now() - heardMs) / 1000);
      screen.show(`No answer for ${silentS} s (${error.code}); what follows was before that.\n\n${last}`);
    }
    const isOver = await Promise.race([stop, setTimeout(watchedEveryMs, false)]);
    if (isOver) return;
  }
}

const watchedEveryMs = 2_000;
