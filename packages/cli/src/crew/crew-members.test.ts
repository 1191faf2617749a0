import { describe, expect, it } from 'vitest';
import { crewMembers, type CrewFlags } from './crew-members.js';

const flags: CrewFlags = { awake: true, experts: 'auto', dataPort: 0 };
const share = { name: 'desk', join: 'server:7600', threads: 4, cpus: null };
const optionsOf = (devices: readonly string[], changes: Partial<CrewFlags> = {}): string[] =>
  crewMembers(devices, { ...flags, ...changes }, share).map(({ args }) => args.join(' '));

describe('crewMembers', () => {
  it('has a worker for each device, named after it', () => {
    const members = crewMembers(['cuda0', 'cpu'], flags, { ...share, cpus: [[0, 1], [2, 3]] }); // prettier-ignore
    expect(members).toEqual([
      {
        name: 'desk-cuda0',
        device: 'cuda0',
        args: '--join server:7600 --name desk-cuda0 --device cuda0 --threads 4 --cpus 0,1 --experts auto'.split(
          ' ',
        ),
      },
      {
        name: 'desk-cpu',
        device: 'cpu',
        args: '--join server:7600 --name desk-cpu --device cpu --threads 4 --cpus 2,3'.split(' '),
      },
    ]);
  });

  it('gives cards their memory, and all of them that of the machine, which they share', () => {
    const given = { memory: 100, hostMemory: 900, experts: 'host' as const };
    expect(optionsOf(['cuda0', 'cuda1', 'cpu'], given)).toEqual([
      expect.stringMatching(/ --memory 100 --experts host --host-memory 900$/u),
      expect.stringMatching(/ --memory 100 --experts host --host-memory 900$/u),
      expect.stringMatching(/ --memory 900$/u),
    ]);
  });

  it('hands on what is the same for all, and counts ports up', () => {
    const given = {
      wait: 5,
      awake: false,
      remoteOnly: true,
      dataHost: '10.0.0.1',
      dataPort: 7700,
      cacheDir: '/cache',
      cacheBytes: 0,
      logFormat: 'json' as const,
    };
    const [first, second] = optionsOf(['cpu', 'vulkan0'], given);
    const rest = '--cache-dir /cache --cache-bytes 0 --log-format json';
    expect(first).toMatch(
      new RegExp(` --wait 5 --no-awake --remote-only --data-host 10.0.0.1 --data-port 7700 ${rest}$`, 'u'),
    );
    expect(second).toMatch(new RegExp(` --remote-only --data-host 10.0.0.1 --data-port 7701 ${rest}$`, 'u'));
    expect(optionsOf(['cpu'], { wait: true })[0]).not.toMatch(/--wait/u);
  });

  it.each<[string, readonly string[], Partial<CrewFlags>, RegExp]>([
    ['a device that has a worker', ['cuda0', 'cuda0'], {}, /names cuda0 twice/u],
    ['memory of cards where there are none', ['cpu'], { memory: 1 }, /--host-memory/u],
    ['one address for several', ['cuda0', 'cpu'], { advertise: 'a:1' }, /--advertise is one address/u],
    ['more ports than there are', ['cuda0', 'cpu'], { dataPort: 65_535 }, /--data-port 65535 is the first/u],
  ])('refuses %s', (_, devices, changes, message) => {
    expect(() => optionsOf(devices, changes)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(message) as string,
      }) as Error,
    );
  });
});
