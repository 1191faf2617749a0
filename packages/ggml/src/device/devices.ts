import { ButterflyError, ensure } from '@butterfly/common';
import { Backend } from './backend.js';
import { CpuBackend } from './cpu-backend.js';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';

/** `integrated`: a GPU that shares the host's memory. */
export type DeviceKind = 'cpu' | 'gpu' | 'integrated';

/** A place to compute. */
export interface Device {
  /** `cpu`, `vulkan0`, `cuda1`, `metal`: ggml's name in small letters. */
  readonly name: string;
  readonly kind: DeviceKind;
  /** As its driver calls it. */
  readonly description: string;
  /** What the driver says; an upper bound, since many do not know what other programs use. */
  readonly freeBytes: number;
  readonly totalBytes: number;
}

interface KnownDevice extends Device {
  readonly pointer: Pointer;
}

/** `enum ggml_backend_dev_type` of ggml-backend.h; accelerators (3) compute beside the CPU, and 4 is made of others. */
const kinds: readonly (DeviceKind | null)[] = ['cpu', 'gpu', 'integrated', null, null];

/** What ggml finds, the CPU first. `loadGpus` of the libraries comes before, else there is the CPU alone. */
export function listDevices(ggml: Ggml): Device[] {
  return knownDevices(ggml).map(({ name, kind, description, freeBytes, totalBytes }) => ({
    name,
    kind,
    description,
    freeBytes,
    totalBytes,
  }));
}

function knownDevices(ggml: Ggml): KnownDevice[] {
  const devices: KnownDevice[] = [];
  for (let i = 0; i < ggml.registry.ggml_backend_dev_count(); i++) {
    const pointer = ggml.registry.ggml_backend_dev_get(i);
    const kind = kinds[ggml.base.ggml_backend_dev_type(pointer)] ?? null;
    if (kind === null) continue;
    const memory = new BigUint64Array(2);
    ggml.base.ggml_backend_dev_memory(pointer, memory, memory.subarray(1));
    devices.push({
      pointer,
      name: kind === 'cpu' ? 'cpu' : ggml.base.ggml_backend_dev_name(pointer).toLowerCase(),
      kind,
      description: ggml.base.ggml_backend_dev_description(pointer),
      freeBytes: Number(memory[0]),
      totalBytes: Number(memory[1]),
    });
  }
  return devices.sort((a, b) => Number(b.kind === 'cpu') - Number(a.kind === 'cpu'));
}

/** What drivers call the cards that the backend of their maker computes on. */
const makers = [
  { backend: /^cuda\d/u, card: /nvidia|geforce|quadro|tesla/iu },
  { backend: /^(?:rocm|hip)\d/u, card: /\bamd\b|radeon|instinct/iu },
] as const;

/** Whether a card of Vulkan is the one that a faster backend, of its maker, has found too. */
function isTwin(device: Device, other: Device): boolean {
  return (
    device.name.startsWith('vulkan') &&
    makers.some(({ backend, card }) => backend.test(other.name) && card.test(device.description))
  );
}

/**
 * The devices of workers that nobody told which: each card with memory of its own, or Apple's GPU; else the CPU, which an
 * integrated GPU shares its memory with and is seldom slower than.
 */
export function usualDevices<D extends Device>(devices: readonly D[]): readonly D[] {
  const cards = devices.filter(
    (device) =>
      (device.kind === 'gpu' || /^(?:metal|mtl)/u.test(device.name)) &&
      !devices.some((other) => isTwin(device, other)),
  );
  const usual = cards.length > 0 ? cards : devices.slice(0, 1);
  ensure(usual.length > 0, () => 'ggml finds no device.');
  return usual;
}

/**
 * Starts a device.
 * @param threads of the CPU.
 * @throws ButterflyError CONFIG_INVALID for one that is not there, with those that are; COMPUTE_FAILED
 */
export function openDevice(ggml: Ggml, name: string, threads: number): Backend {
  if (name === 'cpu') return new CpuBackend(ggml, threads);
  return new Backend(ggml, findDevice(knownDevices(ggml), name).pointer);
}

/** @throws ButterflyError CONFIG_INVALID for one that is not there, with those that are */
export function findDevice<D extends Device>(devices: readonly D[], name: string): D {
  const device = devices.find((each) => each.name === name);
  if (device) return device;
  throw new ButterflyError(
    'CONFIG_INVALID',
    `There is no device ${name} here, but ${devices.map((each) => each.name).join(', ')}; "butterfly devices" tells more of them.`,
  );
}
