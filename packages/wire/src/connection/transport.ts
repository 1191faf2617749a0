import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import {
  type Address,
  ButterflyError,
  deadlines,
  formatAddress,
  limits,
  systemClock,
} from '@butterfly/common';
import { Connection } from './connection.js';
import type { ByteStream, ConnectionOptions } from './connection.js';

/** A member of a cluster, as its certificate says. */
export interface PeerIdentity {
  readonly role: 'orchestrator' | 'worker';
  /** The same for as long as it is a member, and of no other one. */
  readonly id: string;
  /** When its certificate ends, by the clock of the system. */
  readonly expiresAtMs: number;
}

/** Who must be at the other end: any of that role, or a certain one. */
export type ExpectedPeer = Pick<PeerIdentity, 'role'> & Partial<Pick<PeerIdentity, 'id'>>;

export interface DialOptions extends ConnectionOptions, Address {
  readonly timeoutMs?: number;
  /** Who is meant, where the transport proves that; by default any worker. */
  readonly peer?: ExpectedPeer;
}

/** Whom to expect where the orchestrator names a member; where it names none, there are no certificates. */
export function memberAt({ member }: { readonly member?: string | undefined }): Pick<DialOptions, 'peer'> {
  return member === undefined ? {} : { peer: { role: 'worker', id: member } };
}

export interface Listener {
  /** The actual one, also when port 0 was asked for. */
  readonly port: number;
  /** Stops listening and destroys every accepted socket. */
  close(): Promise<void>;
}

/** An accepted stream, which also knows under which of its addresses this host was dialled. */
export type IncomingStream = ByteStream & {
  readonly localAddress?: string | undefined;
  /** Who is at the other end, where the transport proves that: null for one who shows nothing. */
  readonly identity?: PeerIdentity | null;
  /** Why what it shows is not believed. */
  readonly distrust?: string;
};

/** A stream that is being opened: it tells so once, or `error` when that fails. */
export type OpeningStream = ByteStream & {
  on(event: 'connect' | 'secureConnect', listener: () => void): unknown;
};

/** How a kind of stream is opened. */
export interface Opening {
  /** What it tells when it may be used. */
  readonly openedOn: 'connect' | 'secureConnect';
  /** The error for what kept it from opening; null leaves that to what is known of networks. */
  readonly failureOf: (to: string, code: string, cause: Error) => ButterflyError | null;
}

const plainOpening: Opening = { openedOn: 'connect', failureOf: () => null };

export interface ListenOptions<Stream = IncomingStream> {
  /** An address of this host. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Gets each stream before any of its bytes are read, and makes a `Connection` of it. */
  readonly onConnection: (stream: Stream) => void;
}

/** How hosts reach each other: over TCP, or in a simulation. */
export interface Transport {
  /**
   * Connects to a peer.
   * @throws ButterflyError PEER_UNREACHABLE
   */
  dial(options: DialOptions): Promise<Connection>;
  /**
   * Accepts connections.
   * @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID
   */
  listen(options: ListenOptions): Promise<Listener>;
}

/** Each worker holds one connection; the rest is room for those that come back before their old one is noticed. */
const socketsMax = 2 * limits.workersMax;

const dialFailures = new Map([
  ['ECONNREFUSED', 'nothing listens there; check the address and that the other side is started'],
  ['ENOTFOUND', 'the host name is not known; check its spelling'],
  ['EAI_AGAIN', 'the host name could not be looked up; check the name service or use an IP address'],
  ['ETIMEDOUT', 'no answer; check that the host is up and no firewall blocks the port'],
  ['EHOSTUNREACH', 'no route to the host; check the network'],
  ['ENETUNREACH', 'no route to the network; check the network'],
]);

const listenFailures = new Map([
  ['EADDRNOTAVAIL', 'this is not an address of this machine; use one of its own, or 0.0.0.0 for all'],
  ['ENOTFOUND', 'the host name is not known; use an address of this machine, or 0.0.0.0 for all'],
  ['EAI_AGAIN', 'the host name could not be looked up; use an address of this machine, or 0.0.0.0 for all'],
  ['EACCES', 'the port is reserved; choose one above 1023'],
  ['ERR_SOCKET_BAD_PORT', 'the port must be in 0 to 65535'],
]);

/**
 * Connects to a peer over TCP.
 * @throws ButterflyError PEER_UNREACHABLE
 */
export function dial(options: DialOptions): Promise<Connection> {
  return dialOver(options, ({ host, port }) => connect({ host, port, noDelay: true }));
}

/**
 * Connects to a peer through the stream that `open` begins to open, which is destroyed when it takes too long.
 * @throws ButterflyError PEER_UNREACHABLE, and what `opening` says
 */
export function dialOver(
  options: DialOptions,
  open: (to: Address) => OpeningStream,
  { openedOn, failureOf }: Opening = plainOpening,
): Promise<Connection> {
  const { host, port, timeoutMs = deadlines.connectMs, clock = systemClock } = options;
  return new Promise((resolve, reject) => {
    const unreachable = (reason: string, cause?: unknown): ButterflyError =>
      new ButterflyError('PEER_UNREACHABLE', `Cannot reach ${formatAddress({ host, port })}: ${reason}.`, {
        cause,
      });
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      reject(unreachable('the port must be in 1 to 65535'));
      return;
    }
    const stream = open({ host, port });
    const cancelTimeout = clock.after(timeoutMs, () => {
      reject(
        unreachable(
          `no answer within ${timeoutMs} ms; check that the host is up and no firewall blocks the port`,
        ),
      );
      stream.destroy();
    });
    // Stays attached after the connection is made, where it does nothing.
    stream.on('error', (cause) => {
      cancelTimeout();
      const code = codeOf(cause);
      reject(
        failureOf(formatAddress({ host, port }), code, cause) ??
          unreachable(dialFailures.get(code) ?? cause.message, cause),
      );
    });
    stream.on(openedOn, () => {
      cancelTimeout();
      resolve(new Connection(stream, options));
    });
  });
}

/**
 * Accepts TCP connections.
 * @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID
 */
export function listen(options: ListenOptions<Socket>): Promise<Listener> {
  return listenOn(
    createServer({ noDelay: true }, (socket) => options.onConnection(socket)),
    options,
  );
}

/**
 * Has a server listen, and closes it with all its sockets.
 * @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID
 */
export function listenOn(
  server: Server,
  { host, port }: Pick<ListenOptions, 'host' | 'port'>,
): Promise<Listener> {
  const sockets = new Set<Socket>();
  server.prependListener('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A socket that breaks before it has an owner must not take the process down.
    socket.on('error', () => undefined);
  });
  server.maxConnections = socketsMax;

  let closing: Promise<void> | null = null;
  const close = (): Promise<void> =>
    (closing ??= new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    }));

  return new Promise((resolve, reject) => {
    // Stays attached: a failed accept concerns that one peer, which sees its connection refused.
    server.on('error', (cause) => reject(listenError(host, port, cause)));
    server.on('listening', () => {
      const bound = server.address();
      resolve({ port: typeof bound === 'object' && bound !== null ? bound.port : port, close });
    });
    try {
      server.listen({ host, port });
    } catch (cause) {
      reject(listenError(host, port, cause));
    }
  });
}

/** The network of this machine. */
export const tcpTransport: Transport = { dial, listen };

/** Says why a host cannot be listened on; `cause` has the code of a system error, such as EADDRINUSE. */
export function listenError(host: string, port: number, cause: unknown): ButterflyError {
  const code = codeOf(cause);
  if (code === 'EADDRINUSE')
    return new ButterflyError(
      'PORT_IN_USE',
      `Another process listens on ${formatAddress({ host, port })}; choose another port or stop that process.`,
      { cause, param: 'port' },
    );
  const reason = listenFailures.get(code) ?? (cause instanceof Error ? cause.message : code);
  return new ButterflyError(
    'ADDRESS_INVALID',
    `Cannot listen on ${formatAddress({ host, port })}: ${reason}.`,
    {
      cause,
    },
  );
}

function codeOf(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : '';
}
