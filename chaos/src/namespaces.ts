import { execFileSync } from 'node:child_process';

/** A host of its own, as far as the network is concerned. */
export interface Host {
  readonly namespace: string;
  readonly address: string;
}

const subnet = '10.213.77';

/** Network namespaces on one switch, each with a card of limited speed. Only Linux lets us have them, and only its root. */
export class Namespaces implements Disposable {
  private constructor(
    readonly hosts: readonly Host[],
    private readonly all: readonly string[],
  ) {}

  /** Null, after taking back what was made, where this is not allowed. */
  static create(count: number, megabitsPerSecond: number): Namespaces | null {
    const prefix = `butterfly-${process.pid}`;
    const network = `${prefix}-switch`;
    const hosts = Array.from({ length: count }, (_, index) => ({
      namespace: `${prefix}-${index}`,
      address: `${subnet}.${index + 1}`,
    }));
    const namespaces = new Namespaces(hosts, [network, ...hosts.map(({ namespace }) => namespace)]);
    try {
      ip(['netns', 'add', network]);
      ip(['-n', network, 'link', 'add', 'bridge0', 'type', 'bridge']);
      ip(['-n', network, 'link', 'set', 'bridge0', 'up']);
      for (const [index, host] of hosts.entries()) plugIn(host, network, `port${index}`, megabitsPerSecond);
      return namespaces;
    } catch {
      namespaces[Symbol.dispose]();
      return null;
    }
  }

  [Symbol.dispose](): void {
    for (const namespace of this.all) {
      try {
        ip(['netns', 'del', namespace]);
      } catch {
        // It was never made.
      }
    }
  }
}

function plugIn({ namespace, address }: Host, network: string, portName: string, megabits: number): void {
  ip(['netns', 'add', namespace]);
  ip(['-n', namespace, 'link', 'set', 'lo', 'up']);
  ip(['-n', namespace, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', portName, 'netns', network]);
  ip(['-n', network, 'link', 'set', portName, 'master', 'bridge0', 'up']);
  ip(['-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0']);
  ip(['-n', namespace, 'link', 'set', 'eth0', 'up']);
  const limit = ['tbf', 'rate', `${megabits}mbit`, 'burst', '64kb', 'latency', '400ms'];
  ip(['netns', 'exec', namespace, 'tc', 'qdisc', 'add', 'dev', 'eth0', 'root', ...limit]);
}

function ip(args: readonly string[]): void {
  execFileSync('ip', args, { stdio: 'ignore' });
}
