import { isIPv4 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';

/** How systems call networks that are inside of this machine, or of somebody else: of containers, virtual machines and tunnels. */
const innerNetwork =
  /^(?:docker|br-|veth|virbr|vmnet|vboxnet|lxc|lxd|cni|flannel|podman|tun|tap|utun|wg|zt|tailscale)/iu;
/** The ranges of networks at home and at work. */
const privateNetwork = /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)/u;

/**
 * The address under which a machine of the same network most likely reaches this one; null where there is none. Pure.
 * @param interfaces as `os.networkInterfaces` gives them
 */
export function addressForOthers(
  interfaces: Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>,
): string | null {
  const addresses = Object.entries(interfaces).flatMap(([name, found]) =>
    (found ?? [])
      .filter(({ address, internal }) => !internal && isIPv4(address) && !address.startsWith('169.254.'))
      .map(({ address }) => ({ address, isInner: innerNetwork.test(name) })),
  );
  const rank = ({ address, isInner }: (typeof addresses)[number]): number =>
    (isInner ? 2 : 0) + (privateNetwork.test(address) ? 0 : 1);
  return addresses.sort((a, b) => rank(a) - rank(b))[0]?.address ?? null;
}
