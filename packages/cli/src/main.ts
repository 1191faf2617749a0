#!/usr/bin/env node
import { type ButterflyError, exitCodes, toButterflyError } from '@butterfly/common';
import { tellParent } from 'butterfly/process';
import { CommanderError } from 'commander';
import { readEnvironment, type Environment } from './environment.js';
import { createProgram } from './program.js';
import { errorLine, outliveReaders, tell } from './terminal.js';

/** Reports an error to whoever waits for this process, once. */
async function report(error: ButterflyError, { BUTTERFLY_MANAGED }: Environment): Promise<void> {
  if (BUTTERFLY_MANAGED === undefined) tell(errorLine(error));
  else await tellParent(error);
}

async function main(): Promise<number> {
  const { environment, problem } = readEnvironment();
  // Options may have a token, which every user of the machine would see in a list of processes.
  process.title = `butterfly ${process.argv[2] ?? ''}`.trimEnd();
  try {
    const program = await createProgram(process.argv[2] ?? '', environment, problem);
    await program.parseAsync();
    return exitCodes.ok;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    const error = toButterflyError(thrown);
    await report(error, environment);
    return error.kind.exitCode;
  }
}

outliveReaders();
const exitCode = await main();
// A command may have chosen another one without a word.
process.exitCode ??= exitCode;
