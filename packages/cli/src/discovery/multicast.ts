import { EventEmitter } from 'node:events';
import { ButterflyError } from '@butterfly/common';
import { Bonjour } from 'bonjour-service';

/** Where multicast DNS is spoken; all absent for the usual port and every interface. */
export interface MulticastOptions {
  readonly port?: number;
  /** Address of the interface to use. */
  readonly interface?: string;
  /** Address to bind to, where that is not the interface's. */
  readonly bind?: string;
}

/** Type of the service: `_butterfly._tcp`. */
export const serviceType = 'butterfly';

/** A responder and asker of multicast DNS. */
export interface Multicast {
  readonly bonjour: Bonjour;
  /** Closes the socket; may be called again. */
  close(): Promise<void>;
}

/** The library may have a goodbye to send, for which nobody should wait long. */
const closeMs = 500;

/** @param onFailure told when the socket cannot be had, which leaves this useless but harmless */
export function openMulticast(
  options: MulticastOptions,
  onFailure: (error: ButterflyError) => void,
): Multicast {
  const report = (cause: unknown): void =>
    onFailure(
      new ButterflyError(
        'PEER_UNREACHABLE',
        `Multicast DNS does not work here (${cause instanceof Error ? cause.message : String(cause)}); give the address with --join HOST:PORT instead.`,
        { cause },
      ),
    );
  // The library types none of the options of its transport, but hands them on.
  const transport: { readonly port?: number } = options;
  const bonjour = new Bonjour(transport, report);
  emitterOf(bonjour).on('error', report);
  let closed: Promise<void> | null = null;
  return { bonjour, close: () => (closed ??= close(bonjour)) };
}

function close(bonjour: Bonjour): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, closeMs);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    bonjour.unpublishAll(() => {
      try {
        bonjour.destroy(done);
      } catch {
        // A socket that never opened cannot be closed.
        done();
      }
    });
  });
}

/** Where the library lets fall the errors of its socket, which would else end the process. */
function emitterOf(bonjour: Bonjour): EventEmitter {
  const server: unknown = Reflect.get(bonjour, 'server');
  const mdns: unknown = typeof server === 'object' && server ? Reflect.get(server, 'mdns') : null;
  if (!(mdns instanceof EventEmitter))
    throw new ButterflyError('INTERNAL', 'bonjour-service has changed: its socket is not where it was.');
  return mdns as EventEmitter;
}
