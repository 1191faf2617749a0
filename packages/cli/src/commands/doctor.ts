import { exitCodes } from '@butterfly/common';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { machineFacts } from '../doctor/facts.js';
import { findingsOf, hasFault } from '../doctor/findings.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import { formatTable } from '../table.js';
import { print } from '../terminal.js';

const examples = `
Examples:
  butterfly doctor
  butterfly doctor --json > findings.json`;

export function doctorCommand(environment: Environment): Command {
  return new Command('doctor')
    .description(
      'Look at this machine: versions, libraries, devices, memory, disks and ports, each with its remedy.',
    )
    .option('--json', 'print JSON')
    .addOption(logFormatOption())
    .addHelpText('after', examples)
    .action(async ({ json, ...flags }: LogFlags & { readonly json?: boolean }) => {
      const log = await openLog(environment, flags, 'doctor');
      const findings = findingsOf(await machineFacts(environment, log));
      if (json) print(`${JSON.stringify(findings, null, 2)}\n`);
      else
        print(
          formatTable(
            findings.flatMap(({ verdict, what, found, remedy }) => [
              [verdict, what, found],
              ...(remedy === null ? [] : [['', '', `-> ${remedy}`]]),
            ]),
          ),
        );
      if (hasFault(findings)) process.exitCode = exitCodes.engine;
    });
}
