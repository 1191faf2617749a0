import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A raw socket to a port of this machine. */
export class Peer implements Disposable {
  readonly #received: Buffer[] = [];

  private constructor(readonly socket: Socket) {
    socket.on('data', (bytes: Buffer) => this.#received.push(bytes));
    socket.on('error', () => undefined);
  }

  /** @param localAddress one of this machine, from which it seems to come */
  static async connect(port: number, localAddress = '127.0.0.1'): Promise<Peer> {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    const peer = new Peer(socket);
    await once(socket, 'connect');
    return peer;
  }

  /** Sends these bytes and gives what comes until the other side closes. */
  async exchange(bytes: Uint8Array): Promise<string> {
    this.socket.write(bytes);
    if (!this.socket.closed) await once(this.socket, 'close');
    return Buffer.concat(this.#received).toString('latin1');
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
