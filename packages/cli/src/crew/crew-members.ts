import { ButterflyError, parseAddress } from '@butterfly/common';
import type { ExpertWish } from '@butterfly/planning';
import type { LogFormat, WorkerProcess } from 'butterfly/process';

/** What the command line says of workers, as far as it says. */
export interface CrewFlags {
  readonly wait?: number | true;
  readonly awake: boolean;
  readonly memory?: number;
  readonly experts: ExpertWish;
  readonly hostMemory?: number;
  readonly remoteOnly?: boolean;
  readonly dataHost?: string;
  readonly dataPort: number;
  readonly advertise?: string;
  readonly cacheDir?: string;
  readonly cacheBytes?: number;
  readonly logFormat?: LogFormat;
  readonly insecure?: 'loopback' | 'anywhere';
  readonly dataDir?: string;
}

/** What they share out among them. */
export interface CrewShare {
  /** Of all of them together, for people. */
  readonly name: string;
  /** HOST:PORT of the orchestrator. */
  readonly join: string;
  /** Of each. */
  readonly threads: number;
  /** CPUs of each; null leaves that to the system. */
  readonly cpus: readonly (readonly number[])[] | null;
}

const portMax = 65_535;

/**
 * The worker of each device, with its part of what the command line says for all of them. Memory of the machine is not cut
 * up here: each worker offers all of it, and the planner, which knows what a model needs where, has them share it.
 * @throws ButterflyError CONFIG_INVALID for what cannot be said of several, ADDRESS_INVALID
 */
export function crewMembers(
  devices: readonly string[],
  flags: CrewFlags,
  share: CrewShare,
): readonly WorkerProcess[] {
  checkFlags(devices, flags);
  return devices.map((device, index) => {
    const name = `${share.name}-${device}`;
    return { name, device, args: argumentsOf(name, device, index, flags, share) };
  });
}

function argumentsOf(
  name: string,
  device: string,
  index: number,
  flags: CrewFlags,
  { join, threads, cpus }: CrewShare,
): string[] {
  const { wait, memory, hostMemory, dataHost, dataPort, cacheDir, cacheBytes, logFormat } = flags;
  const isCard = device !== 'cpu';
  // Of a worker on the CPU, the memory of the machine is what it computes in.
  const own = isCard ? memory : hostMemory;
  const given = (option: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [option, String(value)];
  return [
    ...['--join', join, '--name', name, '--device', device, '--threads', String(threads)],
    ...(wait === true ? [] : given('--wait', wait)),
    ...given('--cpus', cpus?.[index]?.join()),
    ...(flags.awake ? [] : ['--no-awake']),
    ...given('--memory', own),
    ...(isCard ? ['--experts', flags.experts, ...given('--host-memory', hostMemory)] : []),
    ...(flags.remoteOnly ? ['--remote-only'] : []),
    ...given('--data-host', dataHost),
    ...(dataPort === 0 ? [] : ['--data-port', String(dataPort + index)]),
    ...given('--cache-dir', cacheDir),
    ...given('--cache-bytes', cacheBytes),
    ...given('--log-format', logFormat),
    ...given('--insecure', flags.insecure),
    ...given('--data-dir', flags.dataDir),
  ];
}

function checkFlags(devices: readonly string[], { memory, dataPort, advertise }: CrewFlags): void {
  const twice = devices.find((device, index) => devices.indexOf(device) !== index);
  if (twice !== undefined)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `--device names ${twice} twice; a device has one worker, which --threads and --memory make larger.`,
    );
  if (memory !== undefined && devices.every((device) => device === 'cpu'))
    throw new ButterflyError('CONFIG_INVALID', '--memory is of graphics cards; use --host-memory.');
  if (advertise !== undefined) {
    parseAddress(advertise);
    throw new ButterflyError(
      'CONFIG_INVALID',
      `--advertise is one address, and ${devices.join(', ')} are ${devices.length} workers; start one for each device with --device.`,
    );
  }
  if (dataPort !== 0 && dataPort + devices.length - 1 > portMax)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `--data-port ${dataPort} is the first of ${devices.length} ports, which would be above ${portMax}; use a lower one.`,
    );
}
