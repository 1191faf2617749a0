export { describeTensorSource } from './source-contract.js';
