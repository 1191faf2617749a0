import { describeTransport } from '../testing/transport-contract.js';
import { Connection } from './connection.js';
import { tcpTransport } from './transport.js';

describeTransport('TCP', () => ({
  near: tcpTransport,
  far: tcpTransport,
  host: '127.0.0.1',
  strangeHost: 'no-such-host.invalid',
  strangeAddress: '192.0.2.1',
  settle: (promise) => promise,
  own: (stream, handlers) => new Connection(stream, { handlers }),
}));
