import type { EventView } from '@butterfly/telemetry';
import { Command, Option } from 'commander';
import { addServerOptions, administratorOf, type ServerFlags } from '../../admin-client/administrator.js';
import type { Environment } from '../../environment.js';
import { follow } from '../../following/follow.js';
import { isAtLeast, logLine, type ShownLevel, shownLevels } from '../../following/log-lines.js';
import { stopSignal } from '../../signals.js';
import { print, readerGone, tell } from '../../terminal.js';

interface LogsFlags extends ServerFlags {
  readonly follow?: boolean;
  readonly level: ShownLevel;
  readonly json?: boolean;
}

const examples = `
Examples:
  butterfly logs
  butterfly logs --follow --level warn
  butterfly logs --json | jq .kind`;

export function logsCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('logs').description('Show what happened in a running server: its last thousand events.'),
  )
    .option('-f, --follow', 'go on with what happens, until Ctrl-C')
    .addOption(
      new Option('--level <level>', 'the least grave that is shown').choices(shownLevels).default('info'),
    )
    .option('--json', 'print JSON, one event a line')
    .addHelpText('after', examples)
    .action((flags: LogsFlags) => showLogs(flags, environment));
}

async function showLogs(
  { follow: isFollowing, level, json, ...server }: LogsFlags,
  environment: Environment,
): Promise<void> {
  const ending = new AbortController();
  void Promise.race([stopSignal(), readerGone()]).then(() => ending.abort());
  const source = administratorOf(server, environment);
  const onLost = ({ message }: Error): void => tell(`The server was lost (${message}); it is tried again.\n`);
  let shownIndex = 0;
  let startedMs: number | null = null;
  const showOne = (event: EventView): void => {
    if (event.index <= shownIndex) return;
    shownIndex = event.index;
    if (isAtLeast(event, level)) print(json ? `${JSON.stringify(event)}\n` : logLine(event));
  };
  for await (const message of follow({ source, signal: ending.signal, onLost })) {
    if (message.kind === 'cluster') {
      // One that was started anew counts from the beginning.
      if (startedMs !== null && startedMs !== message.cluster.startedMs) shownIndex = 0;
      startedMs = message.cluster.startedMs;
    }
    if (message.kind !== 'events') continue;
    message.events.forEach(showOne);
    if (!isFollowing) return;
  }
}
