export { plainSequence } from './plain-sequence.js';
export { describeTransport } from './transport-contract.js';
