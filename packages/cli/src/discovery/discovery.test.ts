import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createLogger, formatAddress, silentLogger } from '@butterfly/common';
import { protocolVersion } from '@butterfly/wire';
import { describe, expect, it } from 'vitest';
import { announce } from './announce.js';
import { chooseOrchestrator, discover, readService, type FoundOrchestrator } from './discover.js';

const group = '224.0.0.251';

/** A port for multicast that nobody else uses, or null where a datagram to the group does not come back. */
async function multicastPort(): Promise<number | null> {
  const socket = createSocket({ type: 'udp4', reuseAddr: true });
  try {
    socket.bind(0, '0.0.0.0');
    await once(socket, 'listening');
    const { port } = socket.address();
    socket.addMembership(group, '127.0.0.1');
    socket.setMulticastInterface('127.0.0.1');
    socket.setMulticastLoopback(true);
    socket.send('hello', port, group);
    await once(socket, 'message', { signal: AbortSignal.timeout(2000) });
    return port;
  } catch {
    return null;
  } finally {
    socket.close();
  }
}

const port = await multicastPort();
if (port === null) process.stderr.write('Skipping discovery over sockets: multicast does not work here.\n');
const multicast = { port: port ?? 0, interface: '127.0.0.1', bind: '0.0.0.0' };
const find = (): Promise<FoundOrchestrator[]> => discover({ durationMs: 1500, multicast });

describe.skipIf(port === null)('orchestrators on a network', () => {
  it('are found while they announce themselves', async () => {
    const options = { clusterHost: '127.0.0.1', log: silentLogger, multicast };
    const one = announce({ ...options, clusterPort: 7600, modelId: 'a-model' });
    const two = announce({ ...options, clusterPort: 7601, modelId: 'x'.repeat(1000) });
    expect(await find()).toEqual([
      {
        name: expect.stringMatching(/-7600$/) as string,
        model: 'a-model',
        protocol: protocolVersion,
        host: '127.0.0.1',
        port: 7600,
      },
      expect.objectContaining({ model: 'x'.repeat(100), port: 7601 }),
    ]);
    await one.stop();
    expect((await find()).map(formatAddress)).toEqual(['127.0.0.1:7601']);
    await Promise.all([two.stop(), two.stop()]);
    expect(await find()).toEqual([]);
  });

  it('are reached at the address that their announcement came from when they listen everywhere', async () => {
    const options = { clusterHost: '0.0.0.0', clusterPort: 7600, modelId: 'm', log: silentLogger, multicast };
    const announcement = announce(options);
    const found = await find();
    await announcement.stop();
    expect(found).toEqual([
      expect.objectContaining({ host: expect.stringMatching(/^\d+(\.\d+){3}$/) as string }),
    ]);
    expect(found[0]?.host).not.toBe('0.0.0.0');
  });
});

describe('where the port cannot be had', () => {
  async function withTakenPort(test: (port: number) => Promise<void>): Promise<void> {
    const taken: Socket = createSocket({ type: 'udp4' });
    taken.bind(0, '0.0.0.0');
    await once(taken, 'listening');
    try {
      await test(taken.address().port);
    } finally {
      taken.close();
    }
  }

  it('looking for orchestrators says so', async () => {
    await withTakenPort(async (taken) => {
      await expect(discover({ multicast: { ...multicast, port: taken } })).rejects.toMatchObject({
        code: 'PEER_UNREACHABLE',
        message: expect.stringMatching(/EADDRINUSE.*--join HOST:PORT/) as string,
      });
    });
  });

  it('announcing warns and goes on', async () => {
    await withTakenPort(async (taken) => {
      const log = createLogger({ level: 'silent', name: 'test' });
      const warned = new Promise<string>((resolve) => {
        log.warn = (_: unknown, message: string) => resolve(message);
      });
      const announcement = announce({
        clusterHost: '127.0.0.1',
        clusterPort: 7600,
        modelId: 'm',
        log,
        multicast: { ...multicast, port: taken },
      });
      expect(await warned).toMatch(/^The cluster is not announced\..*EADDRINUSE/);
      await announcement.stop();
    });
  });
});

describe('an announcement', () => {
  const service = {
    name: 'desk-7600',
    port: 7600,
    addresses: ['10.0.0.5'],
    txt: { model: 'm', protocol: '3' },
  };

  it('is read', () => {
    expect(readService(service)).toEqual({
      name: 'desk-7600',
      model: 'm',
      protocol: 3,
      host: '10.0.0.5',
      port: 7600,
    });
    const referer = { address: '10.0.0.6', family: 'IPv4' as const, port: 5353, size: 1 };
    expect(readService({ ...service, referer })?.host).toBe('10.0.0.6');
    expect(readService({ ...service, referer, txt: { host: '10.0.0.7' } })).toMatchObject({
      host: '10.0.0.7',
      model: 'unknown',
      protocol: 0,
    });
  });

  it('of a stranger does no harm', () => {
    expect(
      readService({ ...service, txt: { model: 'a\u001b[2J\nb', protocol: 'NaN', host: 'x y' } }),
    ).toEqual({
      name: 'desk-7600',
      model: 'a [2J b',
      protocol: 0,
      host: '10.0.0.5',
      port: 7600,
    });
    expect(readService({ ...service, port: 0 })).toBeNull();
    expect(readService({ ...service, addresses: [] })).toBeNull();
    expect(readService({ ...service, txt: undefined })).toMatchObject({ model: 'unknown' });
  });
});

describe('the choice', () => {
  const at = (host: string, protocol = protocolVersion): FoundOrchestrator => ({
    name: host,
    model: 'm',
    protocol,
    host,
    port: 7600,
  });

  it('is the only one of this version', () => {
    expect(chooseOrchestrator([at('a', protocolVersion - 1), at('b')]).host).toBe('b');
  });

  it.each([
    [[], 'PEER_UNREACHABLE', /serve --announce/],
    [[at('a', 1)], 'PROTOCOL_VERSION', /a:7600 \(m\)/],
    [[at('a'), at('fe80::1')], 'CONFIG_INVALID', /a:7600 \(m\), \[fe80::1\]:7600 \(m\)/],
  ])('is left to people: %#', (found, code, message) => {
    expect(() => chooseOrchestrator(found)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) as string }),
    );
  });
});
