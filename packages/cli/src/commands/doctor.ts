import { exitCodes, isLoopbackHost, toButterflyError, packageVersion } from '@butterfly/common';
import { Command } from 'commander';
import { addSecretOptions, administratorOf, type SecretFlags } from '../admin-client/administrator.js';
import { clusterFindings } from '../doctor/cluster-findings.js';
import { machineFacts } from '../doctor/facts.js';
import { type Finding, findingsOf, hasFault } from '../doctor/findings.js';
import type { Environment } from '../environment.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import { serverOrigin } from '../server-url.js';
import { formatTable } from '../table.js';
import { print } from '../terminal.js';

interface DoctorFlags extends LogFlags, SecretFlags {
  readonly url?: string;
  readonly json?: boolean;
}

const examples = `
Examples:
  butterfly doctor
  butterfly doctor --url http://desk:8080           of a running server too: links, clocks, versions
  butterfly doctor --json > findings.json`;

export function doctorCommand(environment: Environment): Command {
  return addSecretOptions(
    new Command('doctor')
      .description(
        'Look at this machine: versions, libraries, devices, memory, disks and ports, each with its remedy.',
      )
      .option('--url <url>', 'look at this running server too: its links, clocks, versions and troubles'),
  )
    .option('--json', 'print JSON')
    .addOption(logFormatOption())
    .addHelpText('after', examples)
    .action((flags: DoctorFlags) => examine(flags, environment));
}

async function examine(flags: DoctorFlags, environment: Environment): Promise<void> {
  const log = await openLog(environment, flags, 'doctor');
  const { url, json } = flags;
  const host = url === undefined ? null : new URL(serverOrigin(url)).hostname.replaceAll(/[[\]]/gu, '');
  const facts = await machineFacts(environment, log);
  // A server of this machine has the ports that it should have.
  const ports = host !== null && isLoopbackHost(host) ? [] : facts.ports;
  const findings = [
    ...findingsOf({ ...facts, ports }),
    ...(url === undefined ? [] : await serverFindings({ ...flags, url }, environment)),
  ];
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
}

/** What keeps it from being asked is a finding too. */
async function serverFindings(
  server: SecretFlags & { readonly url: string },
  environment: Environment,
): Promise<Finding[]> {
  try {
    const { value, clocks } = await administratorOf(server, environment).describeWithClocks();
    return clusterFindings(value, clocks, packageVersion);
  } catch (thrown) {
    const { message } = toButterflyError(thrown);
    return [{ verdict: 'fault', what: 'server', found: message, remedy: null }];
  }
}
