import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress } from './config.js';

describe('addresses', () => {
  it.each([
    ['192.168.1.10:7600', { host: '192.168.1.10', port: 7600 }],
    ['desk:1', { host: 'desk', port: 1 }],
    ['[::1]:7600', { host: '::1', port: 7600 }],
    ['[fd00::2]:65535', { host: 'fd00::2', port: 65_535 }],
  ])('%s is read and written', (text, address) => {
    expect(parseAddress(text)).toEqual(address);
    expect(formatAddress(address)).toBe(text);
  });

  it.each(['::1:7600', 'desk', 'desk:0', 'desk:65536', '[desk]:1', 'a b:1'])('%s is none', (text) => {
    expect(() => parseAddress(text)).toThrow(expect.objectContaining({ code: 'ADDRESS_INVALID' }));
  });
});
