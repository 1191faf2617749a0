import { packageVersion, toButterflyError } from '@butterfly/common';
import { Command } from 'commander';
import { z } from 'zod';
import { addServerOptions, administratorOf, type ServerFlags } from '../../admin-client/administrator.js';
import { machineFacts } from '../../doctor/facts.js';
import { findingsOf } from '../../doctor/findings.js';
import type { Environment } from '../../environment.js';
import { redacted } from '../../following/redact.js';
import { logFormatOption, openLog, type LogFlags } from '../../log.js';
import { print } from '../../terminal.js';

type ReportFlags = ServerFlags & LogFlags & { readonly names?: boolean };

const examples = `
Examples:
  butterfly report > report.json                    to attach to a report of a defect
  butterfly report --names > report.json            with names, addresses and paths as they are`;

const paths = {
  cluster: '/cluster',
  models: '/models',
  requests: '/cluster/requests?limit=100',
  events: '/cluster/events',
  series: '/cluster/series',
} as const;

export function reportCommand(environment: Environment): Command {
  return addServerOptions(
    new Command('report').description(
      'Collect what a report of a defect needs, of this machine and a running server: no prompt, no answer, no secret.',
    ),
  )
    .option('--names', 'leave names, addresses and paths as they are')
    .addOption(logFormatOption())
    .addHelpText('after', examples)
    .action((flags: ReportFlags) => makeReport(flags, environment));
}

async function makeReport({ names, ...flags }: ReportFlags, environment: Environment): Promise<void> {
  const log = await openLog(environment, flags, 'report');
  const facts = await machineFacts(environment, log);
  const client = administratorOf(flags, environment);
  const server: Record<string, unknown> = {};
  for (const [part, path] of Object.entries(paths)) {
    // What cannot be had is a part of the report too.
    server[part] = await client.read(path).catch((thrown: unknown) => {
      const { code, message } = toButterflyError(thrown);
      return { unavailable: { code, message } };
    });
  }
  const { node, architecture, features, cores } = facts;
  const report = {
    madeAt: new Date().toISOString(),
    butterfly: packageVersion,
    machine: { node, platform: process.platform, architecture, features, cores },
    findings: findingsOf(facts),
    server,
  };
  const shown = names ? report : redacted(report, namesIn(server));
  print(`${JSON.stringify(shown, null, 2)}\n`);
}

const namedSchema = z.object({ name: z.string() });
const tenantSchema = z.object({ tenant: z.string() });

/** Whatever people called a worker or a key. */
function namesIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(namesIn);
  if (typeof value !== 'object' || value === null) return [];
  const own = namedSchema.safeParse(value).data?.name;
  const tenant = tenantSchema.safeParse(value).data?.tenant;
  // Devices have names too, which tell nothing.
  const isDevice = 'kind' in value && 'description' in value;
  return [
    ...(own === undefined || isDevice ? [] : [own]),
    ...(tenant === undefined ? [] : [tenant]),
    ...Object.values(value).flatMap(namesIn),
  ];
}
