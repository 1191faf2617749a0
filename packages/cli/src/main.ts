#!/usr/bin/env node
import { exitCodes, toButterflyError } from '@butterfly/common';
import { Command, CommanderError } from 'commander';
import { discoverCommand } from './commands/discover.js';
import { drainCommand } from './commands/drain.js';
import { generateCommand } from './commands/generate.js';
import { inspectCommand } from './commands/inspect.js';
import { planCommand } from './commands/plan.js';
import { pullCommand } from './commands/pull.js';
import { serveCommand } from './commands/serve.js';
import { statusCommand } from './commands/status.js';
import { workerCommand } from './commands/worker.js';
import { readEnvironment } from './environment.js';
import { errorLine, reportUsageErrors } from './terminal.js';
import { version } from './version.js';

/** In the order of the help. */
const commands = [
  serveCommand,
  workerCommand,
  generateCommand,
  inspectCommand,
  pullCommand,
  planCommand,
  statusCommand,
  drainCommand,
  discoverCommand,
];

async function main(): Promise<number> {
  try {
    const environment = readEnvironment();
    const program = new Command('butterfly')
      .description('Run a large language model across the machines that you have.')
      .version(version);
    for (const command of commands) program.addCommand(command(environment));
    for (const command of [program, ...program.commands]) reportUsageErrors(command);
    await program.parseAsync();
    return exitCodes.ok;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const error = toButterflyError(thrown);
    process.stderr.write(errorLine(error));
    return error.kind.exitCode;
  }
}

// Whoever reads the output may leave early, as `head` does; that alone is no reason to fall.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
const exitCode = await main();
// A command may have chosen another one without a word.
process.exitCode ??= exitCode;
