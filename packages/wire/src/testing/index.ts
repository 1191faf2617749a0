export { describeTransport } from './transport-contract.js';
