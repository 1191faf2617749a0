import { Command } from 'commander';
import { addServerOptions, administratorOf, type ServerFlags } from '../../admin-client/administrator.js';
import type { Environment } from '../../environment.js';
import { follow } from '../../following/follow.js';
import { Screen } from '../../following/screen.js';
import { emptyTop, formatTop, nextTop, type TopState } from '../../following/top-view.js';
import { stopSignal } from '../../signals.js';
import { print, readerGone } from '../../terminal.js';

interface TopFlags extends ServerFlags {
  readonly once?: boolean;
}

const examples = `
Examples:
  butterfly top
  butterfly top --once                              for a script
  BUTTERFLY_TOKEN=... butterfly top --url http://desk:8080`;

/** How often it is drawn though nothing comes, so that a silence shows. */
const redrawMs = 1_000;

export function topCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('top').description(
      'Follow a running server: its models, how busy each stage is, and its requests.',
    ),
  )
    .option('--once', 'show it once and end')
    .addHelpText('after', examples)
    .action(({ once, ...server }: TopFlags) => showTop(server, once ?? false, environment));
}

async function showTop(server: ServerFlags, isOnce: boolean, environment: Environment): Promise<void> {
  const ending = new AbortController();
  void Promise.race([stopSignal(), readerGone()]).then(() => ending.abort());
  const options = { source: administratorOf(server, environment), signal: ending.signal };
  let state: TopState = emptyTop;
  if (isOnce) {
    for await (const message of follow({ ...options, onLost: () => ending.abort() })) {
      state = nextTop(state, message, Date.now());
      if (message.kind === 'pulse') break;
    }
    print(formatTop(state, Date.now(), 60));
    return;
  }
  using screen = new Screen();
  const draw = (): void => screen.show(formatTop(state, Date.now(), screen.lines));
  const redraw = setInterval(draw, redrawMs);
  try {
    for await (const message of follow({ ...options, onLost: draw })) {
      state = nextTop(state, message, Date.now());
      if (message.kind === 'pulse') draw();
    }
  } finally {
    clearInterval(redraw);
  }
}
