/** Parts of an IPv6 address that name a network: 64 bits. */
const networkGroups = 4;

/**
 * What bounds for each address count by: an IPv4 address, or the network of an IPv6 address, since whoever has one of that
 * kind has all of its addresses. Addresses that hold on one link alone count one by one, as all machines there share theirs.
 */
export function addressBlock(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/iu, '');
  if (!plain.includes(':') || /^fe[89ab]/iu.test(plain)) return plain;
  const [front = [], back = []] = plain.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const gap = Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0');
  const groups = plain.includes('::') ? [...front, ...gap, ...back] : front;
  const network = groups.slice(0, networkGroups).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}
