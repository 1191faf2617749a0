export { plain, worker } from './problems.js';
