import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '@butterfly/common';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { createProgram } from './program.js';

const pathOf = (name: string): string => fileURLToPath(new URL(`../../../deploy/${name}`, import.meta.url));
const textOf = (name: string): string => readFileSync(pathOf(name), 'utf8');

const serviceSchema = z.object({
  command: z.string(),
  user: z.string(),
  read_only: z.literal(true),
  cap_drop: z.array(z.string()),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()),
  secrets: z.array(z.string()).default([]),
  healthcheck: z.union([z.object({ disable: z.literal(true) }), z.object({ test: z.array(z.string()) })]),
});
const composeSchema = z.object({
  services: z.record(z.string(), serviceSchema),
  secrets: z.record(z.string(), z.object({ file: z.string() })),
  volumes: z.record(z.string(), z.null()),
});

/** Has its variables put in place as compose does: `${NAME:-usual}`. */
function compose(environment: Readonly<Record<string, string>> = {}) {
  const text = textOf('compose.yaml').replaceAll(
    /\$\{(\w+):-([^}]*)\}/gu,
    (_, name: string, usual: string) => environment[name] ?? usual,
  );
  return composeSchema.parse(parse(text, { merge: true }));
}

/** Options of a command line, as the command itself would have got them. */
async function parsed(commandLine: string): Promise<Record<string, unknown> & { readonly args: string[] }> {
  const words = commandLine.split(/\s+/u).filter((word) => word !== '');
  const program = await createProgram(words[0] ?? '', {}, null);
  const [command] = program.commands;
  if (!command) throw new RangeError(`There is no command in: ${commandLine}`);
  let args: string[] = [];
  command.action(() => {
    args = command.args;
  });
  await program.parseAsync(words, { from: 'user' });
  const options: Record<string, unknown> = command.opts();
  return { ...options, args };
}

describe('the compose file', () => {
  const { services, secrets, volumes } = compose();
  const container = textOf('container/Containerfile');

  it('has commands that the command line takes, whose ports agree', async () => {
    const { orchestrator, ...workers } = services;
    const serve = await parsed(orchestrator?.command ?? '');
    expect(serve).toMatchObject({ args: [], host: '0.0.0.0', port: 8080, requireKey: false, workers: 0 });
    expect(serve).toMatchObject({ waitFor: Object.keys(workers).length, clusterPort: 7600 });
    expect(orchestrator?.ports).toEqual([`127.0.0.1:8080:${String(serve.port)}`]);
    expect(JSON.stringify(orchestrator?.healthcheck)).toContain(`127.0.0.1:${String(serve.port)}/ready`);
    for (const [name, { command, healthcheck, secrets: used }] of Object.entries(workers)) {
      const worker = await parsed(command);
      expect(parseAddress(String(worker.join))).toEqual({ host: 'orchestrator', port: serve.clusterPort });
      expect(worker.name).toBe(name);
      expect(used.map((secret) => `/run/secrets/${secret}`)).toEqual([worker.tokenFile]);
      expect(healthcheck).toEqual({ disable: true });
    }
    const model = await parsed(compose({ MODEL: '/models/m.gguf' }).services.orchestrator?.command ?? '');
    expect(model.args).toEqual(['/models/m.gguf']);
  });

  it('names no volume or secret that there is not, and none that nobody uses', () => {
    const all = Object.values(services);
    const used = all.flatMap((service) => service.volumes.map((volume) => volume.split(':')[0] ?? ''));
    expect(used.filter((name) => !name.startsWith('.')).sort()).toEqual(Object.keys(volumes).sort());
    expect(new Set(all.flatMap((service) => service.secrets))).toEqual(new Set(Object.keys(secrets)));
  });

  it('fits the image: its user, its folders, its ports', () => {
    const user = /useradd .*--uid (\d+)/u.exec(container)?.[1];
    const folders = /VOLUME (\[.*\])/u.exec(container)?.[1] ?? '[]';
    for (const { user: own, cap_drop: dropped, volumes: mounted } of Object.values(services)) {
      expect([own, dropped]).toEqual([user, ['ALL']]);
      const targets = mounted.map((volume) => volume.split(':')[1]);
      expect(targets).toEqual(expect.arrayContaining(JSON.parse(folders) as string[]));
    }
    expect(container).toMatch(/^EXPOSE 8080 7600$/mu);
  });
});

describe('the units of systemd', () => {
  it.each([
    ['butterfly-serve.service', { MODEL: '/srv/m.gguf', OPTIONS: '--wait-for 1' }, { waitFor: 1 }],
    [
      'butterfly-worker.service',
      { JOIN: '192.168.1.10:7600', OPTIONS: '' },
      { join: '192.168.1.10:7600', tokenFile: '%d/token' },
    ],
  ])('%s starts what the command line takes', async (name, variables, options) => {
    const [, line = ''] =
      /^ExecStart=\/usr\/bin\/env butterfly (.*)$/mu.exec(textOf(`systemd/${name}`)) ?? [];
    const known: Readonly<Record<string, string>> = variables;
    const filled = line.replaceAll(/\$\{?(\w+)\}?/gu, (_, variable: string) => known[variable] ?? '');
    expect(await parsed(filled)).toMatchObject(options);
  });

  const canVerify = spawnSync('systemd-analyze', ['--version']).status === 0;
  it.runIf(canVerify)('have nothing that systemd does not know', () => {
    const units = ['butterfly-serve.service', 'butterfly-worker.service'].map((name) =>
      pathOf(`systemd/${name}`),
    );
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', ...units], { encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
  });
});
