import { Connection } from '@butterfly/wire';
import { describeTransport } from '@butterfly/wire/testing';
import { SimulatedClock } from '../clock/simulated-clock.js';
import { SimulatedNetwork } from './simulated-network.js';

describeTransport('the simulated network', () => {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork({ clock, seed: 'contract', conditions: { jitterMs: 0.3 } });
  const [near, far] = [network.host('near'), network.host('far')];
  return {
    near: near.transport,
    far: far.transport,
    host: 'far',
    strangeHost: 'nobody',
    strangeAddress: 'near',
    settle: (promise) => clock.settle(promise),
    own: (stream, handlers) => new Connection(stream, { handlers, clock: far.clock }),
  };
});
