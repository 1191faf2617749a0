import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect as connectPlainly } from 'node:net';
import { connect } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ButterflyEvent } from '@butterfly/common';
import { makeServerCertificate } from '@butterfly/identity/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { apiContext } from '../testing/api.js';
import { type ListeningApi, startApi } from '../server.js';

type Made = Awaited<ReturnType<typeof makeServerCertificate>>;

let directory: string;
let paths: { readonly certificate: string; readonly privateKey: string };
let made: Made;
let events: ButterflyEvent[];
let api: ListeningApi;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'butterfly-api-tls-'));
  paths = { certificate: join(directory, 'cert.pem'), privateKey: join(directory, 'key.pem') };
  made = await write();
  events = [];
  const keep = (event: ButterflyEvent): void => {
    if (event.kind.startsWith('certificate')) events.push(event);
  };
  const context = { ...apiContext(), observe: keep };
  api = await startApi(context, { host: '127.0.0.1', port: 0, tls: paths });
});
afterEach(async () => {
  await api.close();
  rmSync(directory, { recursive: true });
});

/** A new certificate, and the half of it that is to be written. */
async function write(which: 'both' | 'certificate' = 'both', next?: Made): Promise<Made> {
  const it = next ?? (await makeServerCertificate());
  writeFileSync(paths.certificate, it.certificate);
  if (which === 'both') writeFileSync(paths.privateKey, it.privateKey);
  return it;
}

/** The status of /health for a client that trusts this authority alone, or why it does not trust. */
function health(ca: string): Promise<number | string> {
  return new Promise((resolve) => {
    const asked = request(
      { host: 'localhost', port: api.port, path: '/health', ca, agent: false },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end();
  });
}

async function until(kind: ButterflyEvent['kind']): Promise<void> {
  await expect.poll(() => events.map((event) => event.kind), { timeout: 30_000 }).toContain(kind);
}

describe('the API over TLS', () => {
  it('proves itself by the given certificate, also by one that takes its place, and never by half of one', async () => {
    expect(await health(made.authority)).toBe(200);
    const next = await write('certificate');
    await until('certificateUnusable');
    expect(await health(made.authority)).toBe(200);
    expect(events.filter(({ kind }) => kind === 'certificateUnusable')).toHaveLength(1);
    await write('both', next);
    await until('certificateReplaced');
    expect(await health(next.authority)).toBe(200);
    expect(await health(made.authority)).toMatch(/VERIFY|SIGNATURE|CERT/);
    rmSync(paths.certificate);
    await expect.poll(() => events.length, { timeout: 30_000 }).toBe(3);
    expect(await health(next.authority)).toBe(200);
  });

  it('says until when it is good', () => {
    expect(api.certificateEndsMs).toBe(Date.parse(new X509Certificate(made.certificate).validTo));
  });

  it('speaks nothing older than TLS 1.2, nothing in the clear, and lives on', async () => {
    const closed = await new Promise<string>((resolve) => {
      const socket = connect({
        host: '127.0.0.1',
        port: api.port,
        ca: made.authority,
        maxVersion: 'TLSv1.1',
        minVersion: 'TLSv1',
      });
      socket.on('secureConnect', () => resolve('connected'));
      socket.on('error', () => resolve('refused'));
    });
    expect(closed).toBe('refused');
    const heard = await new Promise<string>((resolve) => {
      const socket = connectPlainly(api.port, '127.0.0.1');
      let text = '';
      socket.on('data', (bytes) => (text += bytes.toString('latin1')));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(text));
      socket.write('GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n');
    });
    expect(heard).not.toContain('200 OK');
    expect(await health(made.authority)).toBe(200);
  });

  it.each([
    ['a key of another certificate', (other: Made) => writeFileSync(paths.certificate, other.certificate)],
    ['no certificate', () => writeFileSync(paths.certificate, 'none')],
    ['no file', () => rmSync(paths.privateKey)],
  ])('does not start with %s', async (_, spoil) => {
    spoil(await makeServerCertificate());
    const starting = startApi(apiContext(), { host: '127.0.0.1', port: 0, tls: paths });
    await expect(starting).rejects.toMatchObject({ code: 'CONFIG_INVALID', param: 'tls-cert' });
  });
});
