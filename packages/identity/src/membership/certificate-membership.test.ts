import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@butterfly/common';
import { Connection, type Listener, decodeControl, encodeControl } from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CertificateAdmission } from '../authority/admission.js';
import { ClusterAuthority } from '../authority/cluster-authority.js';
import { PassingTokens } from '../authority/join-tokens.js';
import { Revocations } from '../authority/revocations.js';
import { type JoinToken, newJoinToken } from '../join-token.js';
import { TlsTransport } from '../tls/tls-transport.js';
import { CertificateMembership } from './certificate-membership.js';
import { CredentialFiles } from './credential-files.js';

const host = '127.0.0.1';
const wishes = { lifeMs: null, usesMax: 1, note: '' };
const open: { close(): Promise<void> }[] = [];
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'butterfly-members-'));
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
  rmSync(directory, { recursive: true });
});

/** The door of an orchestrator that gives certificates, and knows who dialled. */
class Door {
  readonly members: string[] = [];
  private constructor(
    readonly admission: CertificateAdmission,
    readonly tokens: PassingTokens,
    readonly authority: ClusterAuthority,
    private readonly listener: Listener,
  ) {}

  static async open(lifeMs?: number): Promise<Door> {
    const authority = await ClusterAuthority.passing(lifeMs === undefined ? {} : { workerLifeMs: lifeMs });
    const tokens = new PassingTokens(authority.fingerprint);
    const admission = new CertificateAdmission(authority, [tokens], await Revocations.open(null));
    const transport = new TlsTransport({
      credentials: await authority.orchestratorCredentials(),
      admitsStrangers: true,
    });
    const listener = await transport.listen({
      host,
      port: 0,
      onConnection: (stream) => {
        if (stream.identity) door.members.push(stream.identity.id);
        new Connection(stream, {
          handlers: {
            onClose: () => undefined,
            onFrame: (frame, connection) => {
              const message = decodeControl(frame);
              if (message.kind !== 'enrol') return;
              admission.enrol(message).then(
                ({ certificate, authority: by }) =>
                  connection.send(encodeControl({ kind: 'enrolled', certificate, authority: by })),
                (error: unknown) => connection.fail(error as never),
              );
            },
          },
        });
      },
    });
    open.push(listener);
    const door = new Door(admission, tokens, authority, listener);
    return door;
  }

  get address(): { host: string; port: number } {
    return { host, port: this.listener.port };
  }
}

async function member(joinToken: JoinToken | null, name = 'desk'): Promise<CertificateMembership> {
  return CertificateMembership.open({
    name,
    joinToken,
    files: new CredentialFiles(directory),
    clock: systemClock,
    onUnkept: (cause) => {
      throw cause;
    },
  });
}

async function greet(membership: CertificateMembership, door: Door): Promise<string> {
  await membership.enrol(door.address);
  const handlers = { onFrame: () => undefined, onClose: () => undefined };
  const connection = await membership.transport.dial({
    ...door.address,
    peer: { role: 'orchestrator' },
    handlers,
  });
  await expect.poll(() => door.members.length).toBeGreaterThan(0);
  await connection.close();
  return door.members.pop() ?? '';
}

describe('membership by certificate', () => {
  it('is got once for a token, and kept for the next start of this worker alone', async () => {
    const door = await Door.open();
    const token = await door.tokens.create(wishes);
    const first = await greet(await member(token), door);
    expect(first).toMatch(/^worker-[0-9a-f]{16}$/u);
    // The token is spent: with it, or without, it is the certificate that counts.
    expect(await greet(await member(token), door)).toBe(first);
    expect(await greet(await member(null), door)).toBe(first);
    await expect(greet(await member(token, 'laptop'), door)).rejects.toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('used as often as it may be') as string,
    });
    await expect(greet(await member(null, 'laptop'), door)).rejects.toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('--token') as string,
    });
    for (const name of readdirSync(directory))
      expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
  });

  it('goes to the cluster that the token is of', async () => {
    const [ours, theirs] = [await Door.open(), await Door.open()];
    await greet(await member(await ours.tokens.create(wishes)), ours);
    const token = await theirs.tokens.create(wishes);
    // A man in the middle has another authority, and hears nothing of the token.
    await expect(greet(await member(token), ours)).rejects.toMatchObject({ code: 'PEER_UNTRUSTED' });
    await greet(await member(token), theirs);
    // Both are kept, and the last one is taken where no token says which.
    await greet(await member(null), theirs);
    expect(readdirSync(directory)).toHaveLength(2);
  });

  it('does not take a certificate that a man in the middle copied from the orchestrator', async () => {
    const [ours, thief] = [await Door.open(), await Door.open()];
    const token = newJoinToken(thief.authority.fingerprint);
    await expect(greet(await member(token), ours)).rejects.toMatchObject({ code: 'PEER_UNTRUSTED' });
  });

  it('begins anew with a token where what was kept is damaged, or has expired', async () => {
    const door = await Door.open();
    const first = await greet(await member(await door.tokens.create(wishes)), door);
    const [name = ''] = readdirSync(directory);
    const path = join(directory, name);
    writeFileSync(path, readFileSync(path).subarray(0, 100));
    const second = await greet(await member(await door.tokens.create(wishes)), door);
    expect(second).not.toBe(first);
    const short = await Door.open(30_000);
    const token = await short.tokens.create({ ...wishes, usesMax: 2 });
    const third = await greet(await member(token), short);
    expect(await greet(await member(token), short)).not.toBe(third);
  });

  it('is renewed with a key of its own, and no certificate is taken that was not asked for', async () => {
    const door = await Door.open();
    const membership = await member(await door.tokens.create(wishes));
    const id = await greet(membership, door);
    const weekMs = 7 * 24 * 3_600_000;
    expect(membership.renewalDueMs()).toBeGreaterThan(weekMs / 3);
    expect(membership.renewalDueMs()).toBeLessThan(weekMs / 2);
    const { publicKey } = membership.renewal();
    const identity = { role: 'worker', id, expiresAtMs: Date.now() + weekMs } as const;
    const { certificate, authority } = await door.admission.renew(identity, publicKey);
    const message = { kind: 'renewed', certificate, authority } as const;
    await membership.renewed(message);
    expect(await greet(membership, door)).toBe(id);
    const [name = ''] = readdirSync(directory);
    const kept = JSON.parse(readFileSync(join(directory, name), 'utf8')) as { certificate: string };
    expect(new X509Certificate(kept.certificate).serialNumber).toBe(
      new X509Certificate(certificate).serialNumber,
    );
    await expect(membership.renewed(message)).rejects.toMatchObject({ code: 'PROTOCOL_INVALID' });
    await door.admission.revoke(identity);
    await expect(door.admission.renew(identity, publicKey)).rejects.toMatchObject({ code: 'JOIN_REFUSED' });
  });

  it('is given for a public key alone', async () => {
    const door = await Door.open();
    for (const publicKey of ['', 'PEM', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n'])
      await expect(door.authority.issue(publicKey)).rejects.toMatchObject({ code: 'JOIN_REFUSED' });
  });
});

describe('the authority of a cluster', () => {
  it('is made once however many start at the same time, and only its user can read the key', async () => {
    const made = await Promise.all(Array.from({ length: 4 }, () => ClusterAuthority.open(directory)));
    expect(new Set(made.map(({ certificate }) => certificate)).size).toBe(1);
    expect(readdirSync(directory)).toEqual(['authority.pem']);
    expect(statSync(join(directory, 'authority.pem')).mode & 0o777).toBe(0o600);
  });

  it('says where it cannot be kept, or what is no authority', async () => {
    await expect(ClusterAuthority.open('/proc/butterfly')).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('--data-dir') as string,
    });
    writeFileSync(join(directory, 'authority.pem'), 'no key');
    await expect(ClusterAuthority.open(directory)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('remembers who was revoked until their certificates end', async () => {
    const revocations = await Revocations.open(directory);
    await revocations.add({ role: 'worker', id: 'worker-a', expiresAtMs: Date.now() + 60_000 });
    await revocations.add({ role: 'worker', id: 'worker-b', expiresAtMs: Date.now() - 1 });
    const next = await Revocations.open(directory);
    expect([next.ids, next.has('worker-a')]).toEqual([['worker-a'], true]);
    // A record that is damaged still keeps its member out, and a folder that cannot be read lets nobody in.
    writeFileSync(join(directory, 'worker-c'), 'not a time');
    expect((await Revocations.open(directory)).has('worker-c')).toBe(true);
    await expect(Revocations.open(join(directory, 'worker-c'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });
});
