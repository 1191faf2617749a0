import { describe, expect, it } from 'vitest';
import { addressBlock } from './address-block.js';

describe('the block of an address', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8::', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1:2', 'fe80::1:2'],
    ['fe80::1:2%eth0', 'fe80::1:2%eth0'],
    ['', ''],
    ['unknown', 'unknown'],
  ])('of %j is %j', (address, block) => {
    expect(addressBlock(address)).toBe(block);
  });
});
