import type { Socket } from 'node:net';
import { connect, createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import { ButterflyError, deadlines, limits } from '@butterfly/common';
import {
  type Connection,
  type DialOptions,
  type IncomingStream,
  type Listener,
  type ListenOptions,
  type Transport,
  dialOver,
  listenOn,
} from '@butterfly/wire';
import { identityIn } from '../peer-identity.js';
import { checkOf, distrustOf } from './check.js';
import { type Credentials, contextOf, tls13 } from './credentials.js';
import { HalfOpen } from './half-open.js';
import { shownCertificate } from './shown-certificates.js';
import { trustError, trustFailure } from './trust-failure.js';

export interface TlsTransportOptions {
  /** Null until there are some: nobody can be dialled, and whoever comes in is turned away. */
  readonly credentials: Credentials | null;
  /** Whether those are let in too who show no certificate, to ask for one; by default nobody is. */
  readonly admitsStrangers?: boolean;
}

/**
 * Links that are encrypted, and prove that both sides belong to the cluster: TLS 1.3 with a certificate of its authority on
 * either side. Names of hosts mean nothing; a certificate says what its holder is, and which one.
 */
export class TlsTransport implements Transport {
  readonly #servers = new Set<Server>();
  readonly #members = new Map<TLSSocket, string>();
  readonly #revoked = new Set<string>();
  #context: SecureContextOptions | null;

  constructor(private readonly options: TlsTransportOptions) {
    this.#context = options.credentials && contextOf(options.credentials);
  }

  /** From now on these are shown; links that are there stay. */
  use(credentials: Credentials): void {
    this.#context = contextOf(credentials);
    for (const server of this.#servers) server.setSecureContext(this.#context);
  }

  /** Cuts the links to these members, and takes none of them any more; the last `limits.revokedMax` count. */
  revoke(ids: Iterable<string>): void {
    for (const id of ids) {
      this.#revoked.delete(id);
      this.#revoked.add(id);
    }
    for (const id of this.#revoked) {
      if (this.#revoked.size <= limits.revokedMax) break;
      this.#revoked.delete(id);
    }
    for (const [socket, id] of this.#members) if (this.#revoked.has(id)) socket.destroy();
  }

  /** @throws ButterflyError PEER_UNREACHABLE; PEER_UNTRUSTED where who answers is not who is meant */
  async dial(options: DialOptions): Promise<Connection> {
    const context = this.#context;
    if (context === null)
      throw new ButterflyError('PEER_UNREACHABLE', 'This worker has no certificate yet, so it dials nobody.');
    return dialOver(
      options,
      ({ host, port }) => {
        const socket = connect({
          host,
          port,
          ...context,
          checkServerIdentity: checkOf(options.peer, this.#revoked),
        });
        socket.on('secureConnect', () => this.#remember(socket));
        return socket;
      },
      { openedOn: 'secureConnect', failureOf: trustError },
    );
  }

  /** @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID */
  listen(options: ListenOptions): Promise<Listener> {
    const { admitsStrangers = false } = this.options;
    const halfOpen = new HalfOpen();
    const server = createServer({
      ...(this.#context ?? tls13),
      requestCert: true,
      // A stranger shows none, and one whose certificate has expired is told so.
      rejectUnauthorized: !admitsStrangers,
      handshakeTimeout: deadlines.handshakeMs,
    });
    this.#servers.add(server);
    server.on('close', () => this.#servers.delete(server));
    server.on('connection', (socket: Socket) => halfOpen.enter(socket));
    server.on('secureConnection', (socket) => {
      socket.on('error', () => undefined);
      const identified = this.#identify(socket);
      // A stranger keeps its place among those that have proved nothing.
      if (identified.identity) halfOpen.leave(socket.remoteAddress, socket.remotePort);
      // Among members there is nothing to say to anybody else.
      if (identified.identity === null && !admitsStrangers) socket.destroy();
      else options.onConnection(Object.assign(socket, identified));
    });
    return listenOn(server, options);
  }

  #identify(socket: TLSSocket): Pick<IncomingStream, 'identity' | 'distrust'> {
    const certificate = shownCertificate(socket);
    if (!certificate) return { identity: null };
    if (!socket.authorized)
      return { identity: null, distrust: trustFailure(String(socket.authorizationError)) };
    const identity = identityIn(certificate);
    const distrust = distrustOf(identity, { role: 'worker' }, this.#revoked);
    if (distrust !== null) return { identity: null, distrust };
    this.#remember(socket);
    return { identity };
  }

  #remember(socket: TLSSocket): void {
    const certificate = shownCertificate(socket);
    const id = certificate ? identityIn(certificate)?.id : undefined;
    if (id === undefined) return;
    this.#members.set(socket, id);
    socket.on('close', () => this.#members.delete(socket));
  }
}
