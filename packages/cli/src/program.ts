import { packageVersion } from '@butterfly/common';
import type { ButterflyError } from '@butterfly/common';
import { Command } from 'commander';
import type { Environment } from './environment.js';
import { refuseBlankValues } from './options.js';
import { reportUsageErrors } from './terminal.js';

type MakeCommand = (environment: Environment) => Command;

/** In the order of the help; each is loaded only when it is asked for, since a worker needs nothing of the API. */
const commands: Readonly<Record<string, () => Promise<MakeCommand>>> = {
  up: async () => (await import('./commands/up.js')).upCommand,
  serve: async () => (await import('./commands/serve.js')).serveCommand,
  worker: async () => (await import('./commands/worker.js')).workerCommand,
  generate: async () => (await import('./commands/generate.js')).generateCommand,
  chat: async () => (await import('./commands/chat.js')).chatCommand,
  batch: async () => (await import('./commands/batch.js')).batchCommand,
  bench: async () => (await import('./commands/bench.js')).benchCommand,
  inspect: async () => (await import('./commands/inspect.js')).inspectCommand,
  pull: async () => (await import('./commands/pull.js')).pullCommand,
  plan: async () => (await import('./commands/plan.js')).planCommand,
  status: async () => (await import('./commands/running/status.js')).statusCommand,
  top: async () => (await import('./commands/running/top.js')).topCommand,
  logs: async () => (await import('./commands/running/logs.js')).logsCommand,
  report: async () => (await import('./commands/running/report.js')).reportCommand,
  ps: async () => (await import('./commands/running/models.js')).psCommand,
  load: async () => (await import('./commands/running/models.js')).loadCommand,
  unload: async () => (await import('./commands/running/models.js')).unloadCommand,
  drain: async () => (await import('./commands/running/drain.js')).drainCommand,
  token: async () => (await import('./commands/token.js')).tokenCommand,
  key: async () => (await import('./commands/key.js')).keyCommand,
  revoke: async () => (await import('./commands/revoke.js')).revokeCommand,
  devices: async () => (await import('./commands/devices.js')).devicesCommand,
  doctor: async () => (await import('./commands/doctor.js')).doctorCommand,
  setup: async () => (await import('./commands/setup.js')).setupCommand,
  discover: async () => (await import('./commands/discover.js')).discoverCommand,
  completion: async () => {
    const { completionCommand } = await import('./commands/completion.js');
    return (environment) => completionCommand(() => createProgram('', environment, null));
  },
};

/** The command that is asked for, or all of them, where none is. */
async function loadCommands(asked: string, environment: Environment): Promise<Command[]> {
  // Whoever asks for the version needs none of them.
  if (asked === '--version' || asked === '-V') return [];
  const loaders = Object.hasOwn(commands, asked) ? [commands[asked]] : Object.values(commands);
  const made: Command[] = [];
  for (const load of loaders) if (load) made.push((await load())(environment));
  return made;
}

/**
 * The `butterfly` command, with the command that is asked for or all of them.
 * @param problem of the environment, which keeps a command from running, and nobody from reading its help
 */
export async function createProgram(
  asked: string,
  environment: Environment,
  problem: ButterflyError | null,
): Promise<Command> {
  const program = new Command('butterfly')
    .description('Run a large language model across the machines that you have.')
    .version(packageVersion)
    .hook('preAction', () => {
      if (problem) throw problem;
    });
  for (const command of await loadCommands(asked, environment)) program.addCommand(command);
  for (const command of [program, ...program.commands]) {
    reportUsageErrors(command);
    refuseBlankValues(command);
  }
  return program;
}
