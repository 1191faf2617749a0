import { expect, it } from 'vitest';
import { deviceFault } from './last-words.js';

it.each([
  ['cuda0', null, 'SIGABRT', /The driver of cuda0 ended its process \(SIGABRT\).*--device/u],
  ['vulkan1', null, 'SIGSEGV', /\(SIGSEGV\)/u],
  ['cuda0', 0xc0000005, null, /\(exit code 0xc0000005\)/u],
] as const)('blames the driver of %s for an end by %s or %s', (device, code, signal, message) => {
  expect(deviceFault(device, { code, signal })).toMatchObject({
    code: 'COMPUTE_FAILED',
    message: expect.stringMatching(message) as string,
  });
});

it.each([
  ['cpu', null, 'SIGABRT'],
  ['cuda0', null, 'SIGKILL'],
  ['cuda0', 5, null],
] as const)('blames nothing on %s for an end by %s or %s', (device, code, signal) => {
  expect(deviceFault(device, { code, signal })).toBe(null);
});
