import type { NetworkInterfaceInfo } from 'node:os';
import { describe, expect, it } from 'vitest';
import { addressForOthers } from './address-for-others.js';

const at = (address: string, internal = false): NetworkInterfaceInfo[] => [
  {
    ...{ address, internal, netmask: '255.255.255.0', mac: '02:00:00:00:00:01' },
    family: 'IPv4',
    cidr: null,
  },
];

describe('the address for others', () => {
  it.each([
    [
      'the one of the network at home',
      { lo: at('127.0.0.1', true), eth0: at('192.168.1.10') },
      '192.168.1.10',
    ],
    ['not that of containers', { docker0: at('172.17.0.1'), wlan0: at('10.0.0.7') }, '10.0.0.7'],
    ['a private one before a public one', { eth0: at('203.0.113.9'), eth1: at('172.20.3.4') }, '172.20.3.4'],
    [
      'a public one before that of a tunnel',
      { tun0: at('10.8.0.2'), eth0: at('203.0.113.9') },
      '203.0.113.9',
    ],
    ['that of a tunnel where there is no other', { wg0: at('10.8.0.2') }, '10.8.0.2'],
    ['none without a network', { lo: at('127.0.0.1', true), eth0: at('169.254.3.4'), eth1: undefined }, null],
  ])('is %s', (_, interfaces, address) => expect(addressForOthers(interfaces)).toBe(address));
});
