#!/usr/bin/env node
import { exitCodes, toButterflyError } from '@butterfly/common';
import { Command, CommanderError } from 'commander';
import { generateCommand } from './commands/generate.js';
import { inspectCommand } from './commands/inspect.js';
import { serveCommand } from './commands/serve.js';
import { workerCommand } from './commands/worker.js';
import { readEnvironment } from './environment.js';
import { version } from './version.js';

async function main(): Promise<number> {
  try {
    const environment = readEnvironment();
    const program = new Command('butterfly')
      .description('Run a large language model across the machines that you have.')
      .version(version)
      .showHelpAfterError('(add --help for the options)');
    for (const command of [serveCommand, workerCommand, generateCommand, inspectCommand]) program.addCommand(command(environment));
    for (const command of [program, ...program.commands]) command.exitOverride();
    await program.parseAsync();
    return exitCodes.ok;
  } catch (thrown) {
    // Commander has printed its message already; asking for help is no error.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const error = toButterflyError(thrown);
    process.stderr.write(`butterfly: ${error.code}: ${error.message.replaceAll('\n', ' ')}\n`);
    return error.kind.exitCode;
  }
}

process.exitCode = await main();
