#!/usr/bin/env node
import { exitCodes, toButterflyError, type ButterflyError } from '@butterfly/common';
import { Command, CommanderError } from 'commander';
import { readEnvironment, type Environment } from './environment.js';
import { tellParent } from './managed.js';
import { refuseBlankValues } from './options.js';
import { errorLine, reportUsageErrors, tell } from './terminal.js';
import { version } from './version.js';

type MakeCommand = (environment: Environment) => Command;

/** In the order of the help; each is loaded only when it is asked for, since a worker needs nothing of the API. */
const commands: Readonly<Record<string, () => Promise<MakeCommand>>> = {
  serve: async () => (await import('./commands/serve.js')).serveCommand,
  worker: async () => (await import('./commands/worker.js')).workerCommand,
  generate: async () => (await import('./commands/generate.js')).generateCommand,
  inspect: async () => (await import('./commands/inspect.js')).inspectCommand,
  pull: async () => (await import('./commands/pull.js')).pullCommand,
  plan: async () => (await import('./commands/plan.js')).planCommand,
  status: async () => (await import('./commands/status.js')).statusCommand,
  drain: async () => (await import('./commands/drain.js')).drainCommand,
  discover: async () => (await import('./commands/discover.js')).discoverCommand,
};

/** The command that is asked for, or all of them, where none is. */
async function loadCommands(environment: Environment): Promise<Command[]> {
  const [, , name = ''] = process.argv;
  const asked = Object.hasOwn(commands, name) ? [commands[name]] : Object.values(commands);
  const made: Command[] = [];
  for (const load of asked) if (load) made.push((await load())(environment));
  return made;
}

/** Reports an error to whoever waits for this process, once. */
async function report(error: ButterflyError, { BUTTERFLY_MANAGED }: Environment): Promise<void> {
  if (BUTTERFLY_MANAGED === undefined) tell(errorLine(error));
  else await tellParent(error);
}

async function main(): Promise<number> {
  const { environment, problem } = readEnvironment();
  try {
    const program = new Command('butterfly')
      .description('Run a large language model across the machines that you have.')
      .version(version)
      .hook('preAction', () => {
        if (problem) throw problem;
      });
    for (const command of await loadCommands(environment)) program.addCommand(command);
    for (const command of [program, ...program.commands]) {
      reportUsageErrors(command);
      refuseBlankValues(command);
    }
    await program.parseAsync();
    return exitCodes.ok;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const error = toButterflyError(thrown);
    await report(error, environment);
    return error.kind.exitCode;
  }
}

// Whoever reads the output may leave early, as `head` and closed terminals do; that alone is no reason to fall.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
const exitCode = await main();
// A command may have chosen another one without a word.
process.exitCode ??= exitCode;
